//! Nothing happens: for a lab by hand (`--keep`), or to see that the guests boot.

use super::{Story, Who};

pub(super) const STORY: Story =
    Story { name: "nothing", about: "all guests boot", guests: &Who::ALL, tell: |_, _| Ok(()) };
