//! The choice, on machines that are written down in tables.

use super::*;

#[test]
fn what_is_there_comes_first() {
    let debian =
        || Table { distribution: Some(compiler("debian", 22)), has_rustup: true, ..Table::default() };
    let both = || Table { nightlies: vec![compiler("nightly", 23)], ..debian() };
    let two = || Table { nightlies: vec![compiler("new", 23), compiler("old", 22)], ..debian() };
    let future = || Table { nightlies: vec![compiler("future", 25)], ..debian() };
    let ancient = || Table { distribution: Some(compiler("ancient", 14)), ..debian() };
    check([
        ("a nightly with its linker", Table { linkers: vec![23], ..both() }, "nightly, linker 23"),
        ("a newer linker fits too", Table { linkers: vec![22, 24], ..both() }, "nightly, linker 24"),
        ("an older one fits the distribution", Table { linkers: vec![22], ..both() }, "debian, linker 22"),
        ("the nightly that the linker fits", Table { linkers: vec![22], ..two() }, "old, linker 22"),
        ("a linker that we could not build", Table { linkers: vec![25], ..future() }, "future, linker 25"),
        ("the distribution with its LLVM", Table { libraries: vec![22, 23], ..both() }, "build for debian"),
        ("LLVM for it", Table { offered: vec!["llvm-22-dev"], ..both() }, "install llvm-22-dev"),
        ("else the nightly with its LLVM", Table { libraries: vec![23], ..both() }, "build for nightly"),
        ("LLVM for that", Table { offered: vec!["llvm-23-dev"], ..both() }, "install llvm-23-dev"),
        ("nothing for the nightly", both(), "error: no bpf-linker reads the bitcode of rustc nightly"),
        ("LLVM is too new", Table { libraries: vec![25], ..future() }, "error: no bpf-linker"),
        ("LLVM is too old", Table { libraries: vec![14], ..ancient() }, "install nightly"),
    ]);
}

#[test]
fn then_what_can_be_installed() {
    let all = vec!["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"];
    let most = all[..3].to_vec();
    let rustup = || Table { has_rustup: true, ..Table::default() };
    let apt = || Table { offered_llvm: Some(22), offered: all.clone(), ..rustup() };
    let nightly = || Table { nightlies: vec![compiler("nightly", 23)], libraries: vec![23], ..apt() };
    let everything = "install rustc-web cargo-web rust-web-src llvm-22-dev";
    check([
        ("apt offers everything", apt(), everything),
        ("this comes before building for a nightly", nightly(), everything),
        ("apt's compiler is too old", Table { offered_llvm: Some(19), ..apt() }, "install nightly"),
        ("apt does not have its LLVM", Table { offered: most, ..apt() }, "install nightly"),
        ("apt does not have it", Table { offered_llvm: None, ..apt() }, "install nightly"),
        ("rustup alone", rustup(), "install nightly"),
        ("nothing at all", Table::default(), "error: nothing here can build for BPF"),
    ]);
}

#[test]
fn a_named_compiler_is_the_only_candidate() {
    let named = || Table {
        named: Some(compiler("named", 22)),
        nightlies: vec![compiler("nightly", 21)],
        distribution: Some(compiler("debian", 21)),
        has_rustup: true,
        ..Table::default()
    };
    check([
        ("it has a linker", Table { linkers: vec![22], ..named() }, "named, linker 22"),
        ("it can get one", Table { libraries: vec![22], ..named() }, "build for named"),
        ("LLVM is offered", Table { offered: vec!["llvm-22-dev"], ..named() }, "install llvm-22-dev"),
        (
            "it is not replaced",
            Table { linkers: vec![21], ..named() },
            "error: no bpf-linker reads the bitcode of rustc named",
        ),
    ]);
}

#[test]
fn nightlies_are_listed_with_their_directories() {
    let list = "\
stable-x86_64-unknown-linux-gnu (active, default) /home/u/.rustup/toolchains/stable-x86_64-unknown-linux-gnu
nightly-x86_64-unknown-linux-gnu /home/u/.rustup/toolchains/nightly-x86_64-unknown-linux-gnu
nightly-2026-05-19-x86_64-unknown-linux-gnu (default) /home/a user/toolchains/nightly-2026-05-19
my-nightly /opt/nightly
nightly-without-a-directory
";
    let expected = [
        "/home/u/.rustup/toolchains/nightly-x86_64-unknown-linux-gnu",
        "/home/a user/toolchains/nightly-2026-05-19",
    ];
    assert_eq!(nightly_dirs(list), expected.map(PathBuf::from));
    assert!(nightly_dirs("no installed toolchains\n").is_empty());
}

#[test]
fn the_distributions_llvm_is_among_its_packages() {
    let table: [(&[&str], Option<u32>); 4] = [
        (&["rustc-web", "libc6", "libstd-rust-web-1.96", "libllvm22", "libz3-4"], Some(22)),
        (&["libllvm-tools", "libllvm19"], Some(19)),
        (&["rustc-web", "libc6"], None),
        (&[], None),
    ];
    for (packages, expected) in table {
        let packages: Vec<_> = packages.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(llvm_among(&packages), expected, "{packages:?}");
    }
}

/// Chooses on each machine; of an expected error, the beginning counts.
fn check<const N: usize>(table: [(&str, Table, &str); N]) {
    for (name, machine, expected) in table {
        let found = match choose(&machine) {
            Ok(Choice::Ready(found)) => format!("{}, {}", found.compiler.release, found.linker.display()),
            Ok(Choice::Do(Step::InstallPackages(packages))) => format!("install {}", packages.join(" ")),
            Ok(Choice::Do(Step::InstallNightly)) => "install nightly".to_owned(),
            Ok(Choice::Do(Step::BuildLinker(compiler))) => format!("build for {}", compiler.release),
            Err(error) => format!("error: {error:#}"),
        };
        let matches = found == expected || expected.starts_with("error") && found.starts_with(expected);
        assert!(matches, "{name}: expected {expected}, found {found}");
    }
}

/// A machine written down.
#[derive(Default)]
struct Table {
    named: Option<Compiler>,
    nightlies: Vec<Compiler>,
    distribution: Option<Compiler>,
    /// The LLVMs of the linkers that are there.
    linkers: Vec<u32>,
    /// The LLVMs that are installed to build against.
    libraries: Vec<u32>,
    offered_llvm: Option<u32>,
    offered: Vec<&'static str>,
    has_rustup: bool,
}

impl Machine for Table {
    fn named(&self) -> Result<Option<Compiler>> {
        Ok(self.named.clone())
    }

    fn nightlies(&self) -> Vec<Compiler> {
        self.nightlies.clone()
    }

    fn distribution(&self) -> Option<Compiler> {
        self.distribution.clone()
    }

    fn linker(&self, llvm: u32) -> Option<PathBuf> {
        let fits = self.linkers.iter().find(|own| **own >= llvm);
        fits.map(|own| PathBuf::from(format!("linker {own}")))
    }

    fn can_build_linker(&self, llvm: u32) -> bool {
        self.libraries.contains(&llvm)
    }

    fn offered_llvm(&self) -> Result<Option<u32>> {
        Ok(self.offered_llvm)
    }

    fn offers(&self, packages: &[&str]) -> Result<bool> {
        Ok(packages.iter().all(|package| self.offered.contains(package)))
    }

    fn has_rustup(&self) -> bool {
        self.has_rustup
    }
}

fn compiler(name: &str, llvm: u32) -> Compiler {
    let bin = PathBuf::from("/").join(name);
    Compiler { rustc: bin.join("rustc"), cargo: bin.join("cargo"), llvm, release: name.to_owned() }
}
