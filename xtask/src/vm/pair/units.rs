//! iSCSI's units, one after the other in a stream of bytes (RFC 7143, 11.2). Digests are not agreed upon here.

/// Bytes of a unit's header: the opcode in the first, the length of more header in the fifth (in words), that of the data
/// in three after it.
pub(super) const HEADER: usize = 48;

/// How many bytes of a unit come after its header.
pub(super) fn rest(header: &[u8; HEADER]) -> usize {
    let data = u32::from_be_bytes([0, header[5], header[6], header[7]]);
    usize::from(header[4]) * 4 + usize::try_from(data.next_multiple_of(4)).unwrap_or(usize::MAX)
}

/// Where units begin in a stream that comes in pieces.
#[derive(Default)]
pub(super) struct Units {
    header: Vec<u8>,
    /// Bytes until the next header.
    skip: usize,
}

impl Units {
    /// Takes the next piece, and calls `each` with every header that it completes.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8; HEADER])) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let (more, after) = bytes.split_at(bytes.len().min(HEADER - self.header.len()));
            self.header.extend(more);
            bytes = after;
            if let Ok(header) = <&[u8; HEADER]>::try_from(self.header.as_slice()) {
                self.skip = rest(header);
                each(header);
                self.header.clear();
            }
        }
    }
}
