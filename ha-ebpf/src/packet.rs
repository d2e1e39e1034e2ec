//! Reading the packet in place.

use core::marker::PhantomData;

use aya_ebpf::programs::XdpContext;
use ha_common::decode::Cursor;

/// The frame that the program was called for.
pub(crate) struct Packet<'a> {
    start: usize,
    end: usize,
    context: PhantomData<&'a XdpContext>,
}

impl<'a> Packet<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end(), context: PhantomData }
    }
}

impl Cursor for Packet<'_> {
    #[inline(always)]
    fn get<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        let at = self.start + offset;
        if at + N > self.end {
            return None;
        }
        // SAFETY: `at` to `at + N` lies between the packet's start and end, just compared, and the packet
        // stays while the program runs. The verifier checks the same.
        Some(unsafe { &*(at as *const [u8; N]) })
    }
}
