//! Reads captures in the classic format of libpcap, of either byte order.

use anyhow::{Context, Result, ensure};

/// The frames of a capture, whole.
///
/// # Errors
///
/// If it is not a capture of Ethernet frames, or cut off.
pub(crate) fn frames(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let header = take(&mut bytes, 24)?;
    let number: fn([u8; 4]) -> u32 = match header[..4] {
        [0xd4, 0xc3, 0xb2, 0xa1] => u32::from_le_bytes,
        [0xa1, 0xb2, 0xc3, 0xd4] => u32::from_be_bytes,
        _ => anyhow::bail!("not a capture: it begins with {:02x?}", &header[..4]),
    };
    let field = |bytes: &[u8], offset: usize| bytes[offset..].first_chunk().map_or(0, |word| number(*word));
    ensure!(field(header, 20) == ETHERNET, "frames of the kind {}, not of Ethernet", field(header, 20));
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let record = take(&mut bytes, 16)?;
        let (captured, length) = (field(record, 8), field(record, 12));
        ensure!(captured == length, "frame {} was cut to {captured} of {length} bytes", frames.len());
        frames.push(take(&mut bytes, usize::try_from(captured)?)?.to_vec());
    }
    Ok(frames)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    bytes.split_off(..length).context("the capture is cut off")
}

const ETHERNET: u32 = 1;
