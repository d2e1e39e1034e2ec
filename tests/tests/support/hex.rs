//! What is written in hexadecimal.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Bytes, written in hexadecimal.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Hex(pub(crate) Vec<u8>);

/// A number, written in hexadecimal behind `0x`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Number(pub(crate) u64);

impl TryFrom<String> for Hex {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        ensure!(text.is_ascii() && text.len().is_multiple_of(2), "not hexadecimal: {text}");
        let digits = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
        Ok(Self(digits.collect::<Result<_, _>>()?))
    }
}

impl TryFrom<String> for Number {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        let digits = text.strip_prefix("0x").with_context(|| format!("not hexadecimal: {text}"))?;
        Ok(Self(u64::from_str_radix(digits, 16)?))
    }
}
