//! Reading the packet in place.

use core::marker::PhantomData;

use aya_ebpf::programs::{TcContext, XdpContext};
use ha_common::{decode::Cursor, wire::ethernet};

/// The frame that the program was called for.
pub(crate) struct Packet<'a> {
    start: usize,
    end: usize,
    tag: Option<u16>,
    context: PhantomData<&'a ()>,
}

impl<'a> Packet<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end(), tag: None, context: PhantomData }
    }

    /// In a socket buffer a driver may have left headers where they can't be read in place: they are fetched.
    #[inline(always)]
    pub(crate) fn of_buffer(ctx: &'a TcContext) -> Self {
        let in_place = (ctx.data_end() - ctx.data()) as u32;
        let wanted = if ctx.len() < HEADERS { ctx.len() } else { HEADERS };
        if in_place < wanted {
            // What can't be fetched can't be read: such a frame is as if it ended there.
            let _ = ctx.pull_data(wanted);
        }
        // SAFETY: the context is the kernel's, which stays while the program runs.
        let buffer = unsafe { &*ctx.skb.skb };
        let tag = (buffer.vlan_present != 0).then_some(buffer.vlan_tci as u16 & ethernet::VLAN_MASK);
        Self { start: ctx.data(), end: ctx.data_end(), tag, context: PhantomData }
    }
}

impl Packet<'_> {
    /// `N` bytes at `offset`, to be changed in place.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the frame is not behind the reference")]
    pub(crate) fn get_mut<const N: usize>(&self, offset: usize) -> Option<&mut [u8; N]> {
        let at = self.start + offset;
        if at + N > self.end {
            return None;
        }
        // SAFETY: as in `get`; nobody holds a view of the frame any more when it is changed.
        Some(unsafe { &mut *(at as *mut [u8; N]) })
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

    #[inline(always)]
    fn tag(&self) -> Option<u16> {
        self.tag
    }
}

/// All that is ever read of a frame, in bytes: Ethernet, two tags, IPv4 with all options, CARP.
const HEADERS: u32 = 14 + 2 * 4 + 60 + 36;
