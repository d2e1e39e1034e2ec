//! Everything in the fuzz targets' corpora once more: what was chosen for what it reaches, and each finding there
//! ever was.

use std::collections::BTreeSet;
use std::path::PathBuf;

use frames::{Kernel, Outcome, fuzz, site};
use ha_common::reason::Reason;

#[test]
fn decode() {
    inputs("decode").for_each(|input| fuzz::decode(&input));
}

#[test]
fn carp_header() {
    inputs("carp_header").for_each(|input| fuzz::carp_header(&input));
}

#[test]
fn config() {
    inputs("config").for_each(|input| fuzz::config(&input));
}

#[test]
fn control() {
    inputs("control").for_each(|input| fuzz::control(&input));
}

#[test]
fn http() {
    let codes: BTreeSet<_> = inputs("http").flat_map(|input| fuzz::http(&input)).collect();
    // What the corpus does not reach, the fuzzer hardly does either.
    let expected = [100, 200, 303, 400, 401, 403, 404, 405, 408, 413, 415, 421, 431];
    let missing: Vec<_> = expected.iter().filter(|code| !codes.contains(code)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {codes:?}");
}

#[test]
fn peer_link() {
    inputs("peer_link").for_each(|input| fuzz::peer_link(&input));
}

#[test]
fn sniff() {
    inputs("sniff").for_each(|input| fuzz::sniff(&input));
}

#[test]
fn replay() {
    inputs("replay").for_each(|input| fuzz::replay(&input));
}

#[test]
fn kernel() {
    let Some(mut kernel) = Kernel::load(&site()) else { return };
    inputs("kernel").for_each(|input| fuzz::kernel(&mut kernel, &input));
    kernel.demand_rest_untouched();
}

/// What the corpus does not reach, the fuzzer hardly does either.
#[test]
fn the_kernel_s_corpus_reaches_every_reason() {
    let outcomes: BTreeSet<_> =
        inputs("kernel").flat_map(|input| fuzz::play(&input, &site())).map(Outcome::label).collect();
    let rare = [Reason::NoRoom, Reason::RingFull];
    let reasons = Reason::ALL.iter().filter(|reason| !rare.contains(reason)).map(|reason| reason.label());
    let expected: BTreeSet<_> = reasons.chain(["foreign", "passed", "accepted"]).collect();
    assert_eq!(outcomes, expected);
}

/// The inputs in a corpus, each named: the last one that is named is the one that fails.
fn inputs(target: &str) -> impl Iterator<Item = Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(paths.len() >= LEAST, "{} has {} inputs", directory.display(), paths.len());
    paths.sort();
    paths.into_iter().map(|path| {
        println!("{}", path.display());
        std::fs::read(&path).expect("an input")
    })
}

const LEAST: usize = 5;
