//! What is counted does what it says, also when nobody counts.

use crvideo_micro::Exchange;

#[test]
fn every_command_of_an_exchange_arrives_and_its_sender_hears_so() {
    let exchange = Exchange::new();
    let mut exchange = exchange.unwrap_or_else(|trouble| panic!("the exchange did not begin: {trouble:?}"));
    for (count, bytes) in [(1, 100), (64, 100), (15, 65_536)] {
        assert_eq!(exchange.commands(count, bytes), Ok(count), "{count} of {bytes} bytes");
    }
}
