//! The kernel programs: look at every frame that an interface receives, find the CARP advertisements for our
//! virtual hosts, stamp them and push them into the ring.
//!
//! There are two, which differ in where they read the frame and how they answer: [`ha_carp`] for XDP, in the driver or in
//! the generic path, and [`ha_carp_tc`] for traffic control (`tcx`), for an interface whose XDP is somebody else's.
//!
//! They observe, and change no frame but a peer's probe, which becomes the answer. [`judge`] says what a frame is; what that means for it stands in one
//! place, the table in [`look`]:
//!
//! | frame | verdict | counted |
//! |---|---|---|
//! | not protocol 112 | pass | no |
//! | a [peer's probe](echo) | back, as the answer | `accepted`, for the path |
//! | to the port of these, refused | drop | its reason, for the path or for all |
//! | the same, for a virtual address, where the [lease](lease) is over | drop | `silenced` |
//! | VRRP or unknown on protocol 112 | pass | `notcarp` or `badver`, common |
//! | CARP for somebody else's virtual host | pass | `badvhid`, common |
//! | CARP for our virtual host, refused | drop, or pass where the agent says so | its reason, for the watch |
//! | CARP for our virtual host, authentic | pass, so that captures show it | `accepted` |
//! | the same, but the ring is full | pass | `ringfull`, for the watch |

#![no_std]
#![no_main]
#![expect(
    missing_docs,
    reason = "the entry's macro makes a function of its own, which takes no documentation"
)]

mod asking;
mod countdown;
mod echo;
mod emit;
mod lease;
mod maps;
mod packet;

use aya_ebpf::{
    EbpfContext,
    bindings::{
        TC_ACT_SHOT,
        tcx_action_base::TCX_NEXT,
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    },
    helpers::bpf_redirect,
    macros::{classifier, raw_tracepoint, xdp},
    programs::{RawTracePointContext, TcContext, XdpContext},
};
use ha_common::{
    abi::{COMMON_SLOT, Watch},
    decode::{Candidate, Frame, decode},
    judge::{Judgement, judge},
    wire::carp,
};

use crate::{maps::Maps, packet::Packet};

#[expect(unreachable_pub, reason = "the kernel reaches it")]
#[xdp]
pub fn ha_carp(ctx: XdpContext) -> u32 {
    match look(&ctx, ctx.ingress_ifindex() as u32, &Packet::new(&ctx)) {
        Verdict::Pass => XDP_PASS,
        Verdict::Drop => XDP_DROP,
        Verdict::Return => XDP_TX,
    }
}

#[expect(unreachable_pub, reason = "the kernel reaches it")]
#[classifier]
pub fn ha_carp_tc(ctx: TcContext) -> i32 {
    // SAFETY: the context is the kernel's, which stays while the program runs.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    match look(&ctx, ifindex, &Packet::of_buffer(&ctx)) {
        // Whoever comes after us is asked, too.
        Verdict::Pass => TCX_NEXT,
        Verdict::Drop => TC_ACT_SHOT as i32,
        // SAFETY: the helper has no preconditions.
        Verdict::Return => unsafe { bpf_redirect(ifindex, 0) as i32 },
    }
}

/// Sees frames leave an interface (`tcx`): the time of a probe begins here.
#[expect(unreachable_pub, reason = "the kernel reaches it")]
#[classifier]
pub fn ha_echo_out(ctx: TcContext) -> i32 {
    // SAFETY: the context is the kernel's, which stays while the program runs.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    asking::departs(ifindex, &Packet::of_buffer(&ctx));
    TCX_NEXT
}

/// A thread of this machine ends.
#[expect(unreachable_pub, reason = "the kernel reaches it")]
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn ha_exit(_ctx: RawTracePointContext) -> i32 {
    lease::shorten();
    0
}

/// Does nothing: the floor that measurements compare [`ha_carp`] with. The agent never loads it.
#[expect(unreachable_pub, reason = "the kernel reaches it")]
#[xdp]
pub fn ha_empty(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Sends every frame back as it is: the floor that measurements compare an [answer](echo) with. The agent never loads it.
#[expect(unreachable_pub, reason = "the kernel reaches it")]
#[xdp]
pub fn ha_return(_ctx: XdpContext) -> u32 {
    XDP_TX
}

/// What becomes of a frame.
#[derive(Clone, Copy)]
enum Verdict {
    Pass,
    Drop,
    /// Out where it came in.
    Return,
}

#[inline(always)]
fn look(ctx: &impl EbpfContext, ifindex: u32, frame: &Packet<'_>) -> Verdict {
    match decode(frame) {
        Frame::Foreign if lease::forbids(frame) => Verdict::Drop,
        Frame::Foreign => match echo::answer(ifindex, frame) {
            None => Verdict::Pass,
            Some(false) => Verdict::Drop,
            Some(true) => Verdict::Return,
        },
        Frame::NotCarp(reason) => {
            maps::count_refused(COMMON_SLOT, reason);
            Verdict::Pass
        }
        Frame::Carp(candidate) => carp(ctx, ifindex, &candidate),
    }
}

/// CARP, for us or for somebody else.
#[inline(always)]
fn carp(ctx: &impl EbpfContext, ifindex: u32, candidate: &Candidate<'_>) -> Verdict {
    // It is always there.
    let Some(desk) = maps::desk() else { return Verdict::Pass };
    let judgement = judge(candidate, ifindex, &Maps, desk);
    lease::doubt(desk);
    match judgement {
        Judgement::Others(reason) => {
            maps::count_refused(COMMON_SLOT, reason);
            Verdict::Pass
        }
        Judgement::Refused(reason) => {
            maps::count_refused(desk.watch.slot, reason);
            maps::sight(desk.watch.slot, reason, desk.source);
            if desk.watch.has(Watch::PASS_REFUSED) { Verdict::Pass } else { Verdict::Drop }
        }
        Judgement::Accepted { stamp_ns, signer } => {
            let heard = countdown::set_back(desk.watch.slot, &desk.key, stamp_ns, carp::Header(&desk.carp));
            emit::advert(ctx, desk, stamp_ns, signer, &heard);
            Verdict::Pass
        }
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing in the program can panic; the linker drops this.
    loop {}
}

/// The kernel hands `bpf_timer` and others to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
