//! An XDP program that is somebody else's: it passes every frame.

use std::fs;

use anyhow::Result;

use crate::lan::Node;
use crate::netns::Netns;

/// Attaches a program named `foreign` to a node's `eth0`, with the `ip` command. It stays until the interface
/// goes.
///
/// # Errors
///
/// If the kernel or `ip` refuses it.
pub fn attach(node: &Node) -> Result<()> {
    attach_to(&node.netns, "eth0")
}

/// The same for any interface of a namespace.
///
/// # Errors
///
/// If the kernel or `ip` refuses it.
pub fn attach_to(netns: &Netns, interface: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("foreign.o");
    fs::write(&path, object())?;
    netns.ip(&format!("link set dev {interface} xdp obj {} sec xdp", path.display()))
}

/// The smallest object that libbpf takes: one program, `return XDP_PASS`, and its licence.
fn object() -> Vec<u8> {
    let names = b"\0.strtab\0.symtab\0xdp\0license\0foreign\0_license\0";
    let name = |text: &str| {
        let at = names.windows(text.len() + 1).position(|name| name == format!("{text}\0").as_bytes());
        u32::try_from(at.unwrap_or_default()).unwrap_or_default()
    };
    // r0 = 2; exit
    let code = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let licence = b"GPL\0";
    let symbols = [
        symbol(0, 0, 0, 0),
        symbol(name("foreign"), GLOBAL_FUNCTION, CODE, code.len()),
        symbol(name("_license"), GLOBAL_OBJECT, LICENCE, licence.len()),
    ]
    .concat();
    let sections: [(u32, u32, u64, &[u8], u32); 5] = [
        (0, 0, 0, &[], 0),
        (name(".strtab"), STRING_TABLE, 0, names, 0),
        (name("xdp"), PROGRAM_BITS, ALLOCATED | EXECUTABLE, &code, 0),
        (name("license"), PROGRAM_BITS, ALLOCATED, licence, 0),
        (name(".symtab"), SYMBOL_TABLE, 0, &symbols, 24),
    ];

    let mut contents = Vec::new();
    let mut headers = Vec::new();
    for (name, kind, flags, bytes, entry) in sections {
        contents.resize(contents.len().next_multiple_of(8), 0);
        headers.extend(name.to_le_bytes());
        headers.extend(kind.to_le_bytes());
        headers.extend(flags.to_le_bytes());
        headers.extend(0_u64.to_le_bytes());
        headers.extend((HEADER + contents.len() as u64).to_le_bytes());
        headers.extend((bytes.len() as u64).to_le_bytes());
        // The symbols' names are in the string table, and the first global symbol is number 1.
        let (link, info) = if kind == SYMBOL_TABLE { (STRINGS, 1_u32) } else { (0, 0) };
        headers.extend(u32::from(link).to_le_bytes());
        headers.extend(info.to_le_bytes());
        headers.extend(8_u64.to_le_bytes());
        headers.extend(u64::from(entry).to_le_bytes());
        contents.extend(bytes);
    }
    contents.resize(contents.len().next_multiple_of(8), 0);

    let mut object = Vec::from(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    object.extend(RELOCATABLE.to_le_bytes());
    object.extend(BPF.to_le_bytes());
    object.extend(1_u32.to_le_bytes());
    object.extend([0; 16]);
    object.extend((HEADER + contents.len() as u64).to_le_bytes());
    object.extend(0_u32.to_le_bytes());
    for half in [64_u16, 0, 0, 64, 5, STRINGS] {
        object.extend(half.to_le_bytes());
    }
    object.extend(contents);
    object.extend(headers);
    object
}

fn symbol(name: u32, info: u8, section: u16, size: usize) -> Vec<u8> {
    let mut symbol = Vec::from(name.to_le_bytes());
    symbol.extend([info, 0]);
    symbol.extend(section.to_le_bytes());
    symbol.extend(0_u64.to_le_bytes());
    symbol.extend((size as u64).to_le_bytes());
    symbol
}

// elf.h
const HEADER: u64 = 64;
const RELOCATABLE: u16 = 1;
const BPF: u16 = 247;
const PROGRAM_BITS: u32 = 1;
const SYMBOL_TABLE: u32 = 2;
const STRING_TABLE: u32 = 3;
const ALLOCATED: u64 = 2;
const EXECUTABLE: u64 = 4;
const GLOBAL_OBJECT: u8 = 0x11;
const GLOBAL_FUNCTION: u8 = 0x12;

// Sections by number.
const STRINGS: u16 = 1;
const CODE: u16 = 2;
const LICENCE: u16 = 3;
