//! The code that introduces two nodes to each other: short enough to be read out, valid once.

use std::fmt;
use std::io;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Eight letters and digits: 40 bits. Zeroized on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(Zeroizing<String>);

/// What is no code.
#[derive(Debug, thiserror::Error)]
#[error(
    "that is no code; a code has eight letters and digits, as K7QM-3XWF: copy it from `ha-agent pair init`"
)]
pub struct CodeError;

impl Code {
    /// A new one.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        getrandom::fill(&mut *bytes).map_err(io::Error::other)?;
        // 256 is a multiple of 32: each is as likely as any other.
        let digit = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).map_or('0', |digit| char::from(*digit));
        Ok(Self(Zeroizing::new(bytes.iter().map(digit).collect())))
    }

    /// What both nodes put into the exchange.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// As people type it: in any case, with or without the hyphen, `O` for `0`, `I` and `L` for `1`.
impl FromStr for Code {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let mut code = Zeroizing::new(String::with_capacity(LENGTH));
        for typed in text.trim().chars().filter(|typed| !matches!(typed, '-' | ' ')) {
            let digit = match typed.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let known = u8::try_from(digit).is_ok_and(|digit| ALPHABET.contains(&digit));
            if !known || code.len() == LENGTH {
                return Err(CodeError);
            }
            code.push(digit);
        }
        if code.len() == LENGTH { Ok(Self(code)) } else { Err(CodeError) }
    }
}

/// For the one who is to know it: `K7QM-3XWF`.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.0.split_at_checked(LENGTH / 2).unwrap_or((&self.0, ""));
        write!(f, "{first}-{second}")
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(redacted)")
    }
}

const LENGTH: usize = 8;
/// Crockford's base 32: no letters that are taken for others.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_comes_back_however_it_is_typed() {
        for _ in 0..100 {
            let code = Code::random().unwrap();
            let shown = code.to_string();
            for typed in [
                shown.clone(),
                shown.to_lowercase(),
                shown.replace('-', ""),
                format!("  {}\n", shown.replace('-', " ")),
                shown.replace('0', "o").replace('1', "l"),
                shown.replace('0', "O").replace('1', "I"),
            ] {
                assert_eq!(typed.parse::<Code>().unwrap().as_bytes(), code.as_bytes(), "{typed}");
            }
            assert!(!format!("{code:?}").contains(&shown));
        }
        assert_ne!(Code::random().unwrap(), Code::random().unwrap());
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for typed in
            ["", "-", "K7QM", "K7QM-3XW", "K7QM-3XWFA", "K7QM-3XWU", "K7QM_3XWF", "K7QM-3XWÄ", "K7QM\n3XWF"]
        {
            assert!(typed.parse::<Code>().is_err(), "{typed}");
        }
    }
}
