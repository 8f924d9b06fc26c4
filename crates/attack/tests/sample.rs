//! A small part of each flood.
#![allow(clippy::unwrap_used)]

use crvideo_attack::floods::{FLOODS, Size};
use crvideo_attack::table::Table;

#[test]
fn a_relay_survives_a_little_of_every_flood_and_its_users_do_not_notice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut table = Table::default();
    for flood in FLOODS {
        runtime.block_on((flood.run)(Size::SAMPLE, &mut table));
    }
    assert!(table.broken().is_empty(), "{table}");
}
