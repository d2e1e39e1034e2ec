//! What comes of a world in which nothing goes wrong any more.

use virtual_lan::core::pair::{Pair, Phase, Timer};

use crate::model::{Action, Faults, World};

/// Ends all faults, and lets happen what then happens, in one fair order: what is at hand first, then what has to
/// be said again, then the soonest deadline. Says whether exactly one node is active in the end, and the other one holds
/// nothing.
pub(crate) fn make(world: &mut World, tell: &mut impl FnMut(Action)) -> bool {
    world.faults = Faults { deadlines: u8::MAX, ..Faults::NONE };
    (world.link, world.carp) = (true, true);
    let mut repeated = false;
    for _ in 0..STEPS {
        if is_settled(world) {
            return true;
        }
        let mut actions = Vec::new();
        world.actions(&mut actions);
        if let Some(action) = actions.iter().find(|action| !matches!(action, Action::Deadline(..))) {
            tell(*action);
            world.act(*action);
        } else if !repeated {
            repeated = true;
            for node in 0..2 {
                world.act(Action::Deadline(node, Timer::Repeat));
            }
        } else if let Some(action) = soonest(world) {
            repeated = false;
            tell(action);
            world.act(action);
        } else {
            return false;
        }
    }
    false
}

/// Whether peace comes; if not, says what came instead.
pub(crate) fn comes(world: &World) -> bool {
    let mut story = Vec::new();
    let mut end = world.clone();
    let comes = make(&mut end, &mut |action| story.push(action));
    if !comes {
        story.truncate(60);
        let phases = end.nodes.each_ref().map(|node| node.pair.as_ref().map(Pair::phase));
        eprintln!("no peace after {story:?}, but {phases:?}");
    }
    comes
}

/// Nothing is left to happen, and one is active.
fn is_settled(world: &World) -> bool {
    let phase = |node: usize| world.nodes[node].pair.as_ref().map(Pair::phase);
    let one = |active: usize, other: usize| {
        let (it, other_one) = (&world.nodes[active], &world.nodes[other]);
        phase(active) == Some(Phase::Active)
            && phase(other) == Some(Phase::Standby)
            && it.serves
            && !other_one.serves
            && it.order.is_none()
            && it.storing.is_none()
            && other_one.storing.is_none()
    };
    world.wires.iter().all(Vec::is_empty) && (one(0, 1) || one(1, 0))
}

/// The deadline that would come first if the times were as they should be.
fn soonest(world: &World) -> Option<Action> {
    let rank = |timer: Timer| match timer {
        // Comes anyway.
        Timer::Repeat => None,
        Timer::Quiet => Some(0),
        Timer::Turn => Some(1),
        Timer::Doubt => Some(2),
        Timer::Rest => Some(3),
        Timer::Step => Some(4),
        Timer::Force => Some(5),
    };
    let armed = (0..2).flat_map(|node| {
        let pair = world.nodes[node].pair.as_ref();
        pair.into_iter().flat_map(move |pair| pair.deadlines().map(move |(_, timer)| (node, timer)))
    });
    let ranked = armed.filter_map(|(node, timer)| Some((rank(timer)?, node, timer)));
    ranked.min().map(|(_, node, timer)| Action::Deadline(node, timer))
}

const STEPS: usize = 400;
