//! What is said on a connection: bytes, some of which stand for more.

/// Something that is said, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// These bytes.
    Say(&'a [u8]),
    /// A byte, so many times.
    Repeat(u8, usize),
    /// Nothing, for so many tenths of a second.
    Wait(u8),
}

/// What stands for more.
pub(super) struct Words<'a> {
    pub(super) token: &'a [u8],
    pub(super) cookie: &'a [u8],
}

/// What an input says.
pub(super) fn steps<'a>(input: &'a [u8], words: &Words<'a>) -> Vec<Step<'a>> {
    let (mut steps, mut rest, mut room, mut time) = (Vec::new(), input, LONGEST, MOST_TENTHS);
    loop {
        let plain = rest.iter().position(|byte| *byte >= COOKIE).unwrap_or(rest.len());
        let (bytes, after) = rest.split_at(plain);
        if !bytes.is_empty() {
            steps.push(Step::Say(bytes));
        }
        rest = match after {
            [COOKIE, after @ ..] => {
                steps.push(Step::Say(words.cookie));
                after
            }
            [TOKEN, after @ ..] => {
                steps.push(Step::Say(words.token));
                after
            }
            [WAIT, tenths, after @ ..] => {
                let tenths = (*tenths).min(time);
                time -= tenths;
                steps.push(Step::Wait(tenths));
                after
            }
            [REPEAT, power, byte, after @ ..] => {
                let times = (1 << (power % POWERS)).min(room);
                room -= times;
                steps.push(Step::Repeat(*byte, times));
                after
            }
            _ => return steps,
        };
    }
}

/// All that is said, in one piece; what is repeated often stands there a few times.
pub(super) fn said(steps: &[Step<'_>]) -> Vec<u8> {
    let mut said = Vec::new();
    for step in steps {
        match *step {
            Step::Say(bytes) => said.extend_from_slice(bytes),
            Step::Repeat(byte, times) => said.extend(std::iter::repeat_n(byte, times.min(FEW))),
            Step::Wait(_) => {}
        }
    }
    said
}

/// Bytes that stand for more; none of them is in any text.
const COOKIE: u8 = 0xfc;
const TOKEN: u8 = 0xfd;
const WAIT: u8 = 0xfe;
const REPEAT: u8 = 0xff;
/// Bytes that are repeated, by one of them: powers of 2 below this one,
const POWERS: u8 = 22;
/// and by all.
const LONGEST: usize = 4 << 20;
/// Tenths of a second that pass in all.
const MOST_TENTHS: u8 = 200;
/// Longer than any run of equal bytes in what is looked for.
const FEW: usize = 32;
