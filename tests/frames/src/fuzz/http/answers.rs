//! What was answered on a connection, read by nobody's code but this.

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    /// Names in small letters.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Nothing of it is missing.
    pub(super) is_whole: bool,
}

impl Answer {
    /// The first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether the body is of this kind.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.header("content-type").is_some_and(|found| found.split(';').next() == Some(kind))
    }
}

/// Reads one after the other; the last one may be `cut` off.
///
/// # Panics
///
/// If they are not as they should be.
pub(super) fn answers(bytes: &[u8], cut: bool) -> Vec<Answer> {
    let (mut answers, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let Some(end) = find(rest, b"\r\n\r\n") else {
            assert!(cut, "half a head: {:?}", String::from_utf8_lossy(rest));
            break;
        };
        let mut answer = head(&rest[..end]);
        rest = &rest[end + 4..];
        let after = body(&mut answer, rest, cut);
        answer.is_whole = after.is_some();
        assert!(cut || answer.is_whole, "half a body: {answer:?}");
        rest = after.unwrap_or_default();
        answers.push(answer);
    }
    answers
}

fn head(bytes: &[u8]) -> Answer {
    let text = std::str::from_utf8(bytes).expect("a head in ASCII");
    assert!(text.bytes().all(|byte| matches!(byte, b'\r' | b'\n' | b' '..=b'~')), "{text:?}");
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let code = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "));
    let code = code.and_then(|code| code.get(..3)?.parse().ok()).unwrap_or_else(|| panic!("{first:?}"));
    let header = |line: &str| {
        assert!(!line.contains(['\r', '\n']), "{line:?}");
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
        assert!(
            !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-'),
            "{name:?}"
        );
        (name.to_ascii_lowercase(), value.to_owned())
    };
    Answer { code, headers: lines.map(header).collect(), body: Vec::new(), is_whole: false }
}

/// Reads the body. Returns what comes after it; `None` if it is not all there.
fn body<'a>(answer: &mut Answer, bytes: &'a [u8], cut: bool) -> Option<&'a [u8]> {
    // None is announced, or none is sent to whoever asks for the head alone.
    let is_bare = bytes.is_empty() || bytes.starts_with(b"HTTP/1.");
    if is_bare || matches!(answer.code, 100..200 | 204 | 304) {
        return Some(bytes);
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        return chunks(answer, bytes);
    }
    let Some(length) = answer.header("content-length") else {
        // The end of the connection is its end.
        answer.body = bytes.to_vec();
        return (!cut).then_some(&[]);
    };
    let (body, after) = bytes.split_at_checked(length.parse().expect("a length"))?;
    answer.body = body.to_vec();
    Some(after)
}

fn chunks<'a>(answer: &mut Answer, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
    loop {
        let end = find(bytes, b"\r\n")?;
        let length =
            std::str::from_utf8(&bytes[..end]).ok().and_then(|it| usize::from_str_radix(it, 16).ok());
        let (chunk, after) = bytes[end + 2..].split_at_checked(length.expect("a length"))?;
        answer.body.extend_from_slice(chunk);
        let (end, after) = after.split_at_checked(2)?;
        assert_eq!(end, b"\r\n", "{answer:?}");
        if chunk.is_empty() {
            return Some(after);
        }
        bytes = after;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|found| found == wanted)
}
