//! A fault at each step of a switchover, for each kind of fault, against the core as it is linked here. Many more, and
//! faults that they must find: `optimised`.

use virtual_lan::pair::schedule::search;

#[test]
fn the_properties_hold() {
    let found = search(0, 1_088);
    assert!(found.is_none(), "{found:#?}");
}
