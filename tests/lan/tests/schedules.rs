//! Random schedules against the core.

use virtual_lan::schedule::search;

#[test]
fn the_properties_hold() {
    let found = search(1_000_000, 1_000);
    assert!(found.is_none(), "{found:#?}");
}
