//! The addresses that count as one client's.

use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that name a customer's network; within it a client can take any address it likes.
const NETWORK_BITS: u32 = 64;

/// The addresses that count as one client's: one IPv4 address, or a /64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block(IpAddr);

impl Block {
    /// The block of an address. An IPv4 address that is written as IPv6 is the same one.
    pub fn of(address: IpAddr) -> Self {
        Block(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> NETWORK_BITS << NETWORK_BITS))
            }
            address => address,
        })
    }

    /// Whether it is this machine.
    pub fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_client_and_so_is_an_ipv4_address_however_it_is_written() {
        let block = |text: &str| Block::of(text.parse().unwrap());
        assert_eq!(block("2001:db8:1:2::1"), block("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(block("2001:db8:1:2::1"), block("2001:db8:1:3::1"));
        assert_eq!(block("::ffff:192.0.2.1"), block("192.0.2.1"));
        assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(block(loopback).is_loopback(), "{loopback}");
        }
        assert!(!block("::2").is_loopback());
    }
}
