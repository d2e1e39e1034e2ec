//! Whatever is in the files: no panic, and an error is one line without the passphrase.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{FULL, GOOD, KEY, OLD_SECRET, SECRET, Site};

proptest! {
    #[test]
    fn random_bytes_are_refused_in_one_line(bytes in vec(any::<u8>(), 0..512)) {
        check(&Site::new(bytes));
    }

    #[test]
    fn random_text_is_refused_in_one_line(text in "\\PC{0,64}(\n|\r\n|\t|\\PC{0,16}| = |\\[|\"){0,16}") {
        check(&Site::new(text));
    }

    #[test]
    fn a_good_file_with_other_bytes_is_judged_in_one_line(
        good in select(&[GOOD, FULL][..]),
        mutations in vec((any::<Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = good.as_bytes().to_vec();
        for (index, byte) in mutations {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        check(&Site::new(bytes));
    }

    #[test]
    fn a_good_file_with_parts_moved_is_judged_in_one_line(
        good in select(&[GOOD, FULL][..]),
        moves in vec((any::<Index>(), any::<Index>(), select(TOKENS)), 1..8)
    ) {
        let mut tokens: Vec<&str> = good.split_inclusive([' ', '\n', '"', ']']).collect();
        for (from, to, token) in moves {
            let (from, to) = (from.index(tokens.len()), to.index(tokens.len()));
            tokens.swap(from, to);
            tokens[from] = token;
        }
        check(&Site::new(tokens.concat()));
    }

    #[test]
    fn random_passphrase_files_are_judged_in_one_line(bytes in vec(any::<u8>(), 0..24)) {
        let site = Site::new(FULL);
        site.write(KEY, &bytes);
        check(&site);
    }

    #[test]
    fn random_strings_for_values_are_judged_in_one_line(
        line in select(&["node = \"controller-a\"", "interface = \"eth0\"", "\"10.77.0.100/24\"", "\"fe80::100/64\"", "\"2ms\"", "\"carp.key\"", "\"strict\"", "\"500ms\"", "\"fe80::2\"", "\"pass\"", "\"virtual\"", "\"both\"", "\"60s\"", "\"20us\""][..]),
        value in "\\PC{0,20}|[0-9]{1,25}(us|ms|s|min|h)|[0-9.]{1,15}/[0-9]{1,4}|[0-9a-f:.%]{1,40}(/[0-9]{1,4})?|(compat|strict|pass|both)[a-z]?|[ -~]{0,5}\\\\[nrt0u]"
    ) {
        let start = line.find('"').expect("a string");
        assert!(FULL.contains(&line[start..]), "{line}");
        let text = FULL.replace(&line[start..], &format!("\"{value}\""));
        check(&Site::new(text));
    }
}

/// Loads, and judges what is said about it: the error, or the warnings.
fn check(site: &Site) {
    let lines = match site.load() {
        Ok(config) => config.warnings,
        Err(error) => vec![error.to_string()],
    };
    for line in lines {
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(!line.contains(SECRET) && !line.contains(OLD_SECRET), "{line:?}");
        assert!(site.anonymous(&line).starts_with("DIR/ha-agent.toml:"), "{line:?}");
    }
}

/// Pieces of configurations, right and wrong.
const TOKENS: &[&str] = &[
    "",
    "\n",
    "[[vhost]]\n",
    "[vhost]\n",
    "[auth]\n",
    "vhid ",
    "advskew ",
    "interval ",
    "= ",
    "= {",
    "= [",
    "]",
    "\"",
    "'''",
    "\\u0000",
    "true\n",
    "0\n",
    "-1\n",
    "1e9\n",
    "1979-05-27\n",
    "255\n",
    "\"eth0\"\n",
    "\"::1/128\"\n",
    "\"::1/128\", ",
    "\"10.77.0.2\", ",
    "\"fe80::2\", ",
    "[\"fe80::100/64\"]\n",
    "[\"10.77.0.2\", \"fe80::2\"]\n",
    "[]\n",
    "\"strict\"\n",
    "\"compat\"\n",
    "\"virtual\"\n",
    "\"both\"\n",
    "\"1ms\"\n",
    "\"60s\"\n",
    "mode ",
    "clock_difference ",
    "peers ",
    "unicast ",
    "receive ",
    "refused ",
    "mac ",
    "advertise_from ",
    "families ",
    "announce_every ",
    "[realtime]\n",
    "priority ",
    "lock_memory ",
    "cpu_dma_latency ",
    "[lease]\n",
    "length ",
    "drop ",
    "[peer]\n",
    "listen ",
    "connect ",
    "heartbeat ",
    "dead_after ",
    "directory ",
    "\"10.77.0.2:7780\"\n",
    "\"off\"\n",
    "\"leave\"\n",
];
