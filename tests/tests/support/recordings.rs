//! Recordings of every form, out of the same Ethernet frames, a millisecond apart.

/// A form of file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) big: bool,
    /// Of the classic format, or of pcapng.
    pub(crate) next: bool,
    /// Digits behind the second.
    pub(crate) digits: u8,
    /// `LINKTYPE_…`
    pub(crate) link: u32,
}

pub(crate) const FORMS: [Form; 16] = [
    classic(false, 6, 1),
    classic(true, 6, 1),
    classic(false, 9, 1),
    classic(true, 9, 1),
    classic(false, 6, 113),
    classic(true, 9, 276),
    classic(false, 9, 101),
    classic(false, 6, 12),
    classic(false, 6, 228),
    next(false, 6, 1),
    next(true, 6, 1),
    next(false, 9, 1),
    next(true, 9, 113),
    next(false, 3, 276),
    next(true, 7, 101),
    next(false, 6, 276),
];

const fn classic(big: bool, digits: u8, link: u32) -> Form {
    Form { big, next: false, digits, link }
}

const fn next(big: bool, digits: u8, link: u32) -> Form {
    Form { big, next: true, digits, link }
}

/// The file. In milliseconds (3 digits) its times are whole, too.
pub(crate) fn write(form: Form, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = File { form, bytes: Vec::new() };
    if form.next {
        file.block(0x0a0d_0d0a, |file| {
            file.u32(0x1a2b_3c4d);
            file.u16(1);
            file.u16(0);
            file.bytes.extend([0xff; 8]);
        });
        file.block(1, |file| {
            file.u16(u16::try_from(form.link).unwrap_or_default());
            file.u16(0);
            file.u32(0);
            file.u16(9);
            file.u16(1);
            file.bytes.extend([form.digits, 0, 0, 0]);
            file.u32(0);
        });
    } else {
        file.u32(if form.digits == 9 { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
        file.u16(2);
        file.u16(4);
        file.u32(0);
        file.u32(0);
        file.u32(65535);
        file.u32(form.link);
    }
    for (index, frame) in (0_u64..).zip(frames) {
        let Some(frame) = linked(form.link, frame) else { continue };
        let length = u32::try_from(frame.len()).unwrap_or_default();
        let (seconds, millis) = (1_780_000_000 + index / 1000, index % 1000);
        let unit = 10_u64.pow(form.digits.into());
        if form.next {
            file.block(6, |file| {
                let count = seconds * unit + millis * unit / 1000;
                file.u32(0);
                file.u32(u32::try_from(count >> 32).unwrap_or_default());
                file.u32(u32::try_from(count & 0xffff_ffff).unwrap_or_default());
                file.u32(length);
                file.u32(length);
                file.bytes.extend(&frame);
                file.bytes.resize(file.bytes.len().next_multiple_of(4), 0);
            });
        } else {
            file.u32(u32::try_from(seconds).unwrap_or_default());
            file.u32(u32::try_from(millis * unit / 1000).unwrap_or_default());
            file.u32(length);
            file.u32(length);
            file.bytes.extend(&frame);
        }
    }
    file.bytes
}

/// An Ethernet frame with another header; `None` if it is not IP.
fn linked(link: u32, frame: &[u8]) -> Option<Vec<u8>> {
    let (ethertype, source, packet) = (&frame[12..14], &frame[6..12], &frame[14..]);
    match link {
        1 => Some(frame.to_vec()),
        113 => Some([&[0, 1, 0, 1, 0, 6], source, &[0, 0], ethertype, packet].concat()),
        276 => Some([ethertype, &[0, 0, 0, 0, 0, 2, 0, 1, 1, 6], source, &[0, 0], packet].concat()),
        _ => (ethertype == [8, 0]).then(|| packet.to_vec()),
    }
}

struct File {
    form: Form,
    bytes: Vec<u8>,
}

impl File {
    fn u16(&mut self, number: u16) {
        self.bytes.extend(if self.form.big { number.to_be_bytes() } else { number.to_le_bytes() });
    }

    fn u32(&mut self, number: u32) {
        self.bytes.extend(if self.form.big { number.to_be_bytes() } else { number.to_le_bytes() });
    }

    /// A block of pcapng, whose body ends at a multiple of 4.
    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Self)) {
        let mut inner = Self { form: self.form, bytes: Vec::new() };
        body(&mut inner);
        let length = u32::try_from(inner.bytes.len() + 12).unwrap_or_default();
        self.u32(kind);
        self.u32(length);
        self.bytes.extend(inner.bytes);
        self.u32(length);
    }
}
