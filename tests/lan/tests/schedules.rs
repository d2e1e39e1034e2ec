//! Random schedules against the core as it is linked here. Many more, and faults that they must find: `optimised`.

use virtual_lan::schedule::search;

#[test]
fn the_properties_hold() {
    let found = search(1_000_000, 1_000);
    assert!(found.is_none(), "{found:#?}");
}
