//! Owns which kind of network an address lies in, so that a redirect cannot reach into the node's own networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Kinds of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Zone {
    Public,
    /// RFC 1918, RFC 6598, RFC 4193, and for benchmarks RFC 2544.
    Private,
    Loopback,
    /// Link-local (cloud metadata), unspecified, multicast, broadcast, reserved.
    Special,
}

/// Where a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// Anywhere: the administrator or the user named the host.
    Named,
    /// Public addresses, and those of the zone in which the registry lies: for token servers that belong to it.
    Beside(Zone),
    /// Public addresses, and the one at which the redirecting registry itself answered, where that is known.
    At(Option<IpAddr>),
}

impl Reach {
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        match (self, Zone::of(address)) {
            (Self::Named, _) | (_, Zone::Public) => true,
            (Self::Beside(own), zone) => own == zone,
            (Self::At(own), _) => own.is_some_and(|own| own.to_canonical() == address.to_canonical()),
        }
    }
}

impl Zone {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        if address.is_loopback() {
            Self::Loopback
        } else if address.is_private() || (a == 100 && b & 0xc0 == 64) || (a == 198 && b & 0xfe == 18) {
            Self::Private
        } else if a == 0 || a >= 224 || address.is_link_local() || [a, b, c] == [192, 0, 0] {
            Self::Special
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let segments = address.segments();
        if address.is_loopback() {
            Self::Loopback
        } else if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
            // NAT64 (RFC 6052) leads to the IPv4 address in the last 32 bits.
            let [.., a, b, c, d] = address.octets();
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        } else if segments[0] == 0x2002 {
            // So does 6to4 (RFC 3056), to the one after the prefix.
            let [_, _, a, b, c, d, ..] = address.octets();
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        } else if segments[..2] == [0x2001, 0] {
            // Teredo (RFC 4380) leads to a host behind somebody's NAT.
            Self::Special
        } else if address.is_unique_local() {
            Self::Private
        } else if segments[0] & 0xe000 == 0x2000 {
            Self::Public
        } else {
            Self::Special
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_of_addresses() {
        let table = [
            ("1.1.1.1", Zone::Public),
            ("10.1.2.3", Zone::Private),
            ("172.31.0.1", Zone::Private),
            ("192.168.0.1", Zone::Private),
            ("100.100.100.200", Zone::Private),
            ("198.19.255.255", Zone::Private),
            ("198.20.0.1", Zone::Public),
            ("192.0.0.192", Zone::Special),
            ("192.0.1.1", Zone::Public),
            ("127.8.8.8", Zone::Loopback),
            ("169.254.169.254", Zone::Special),
            ("0.0.0.0", Zone::Special),
            ("224.0.0.1", Zone::Special),
            ("255.255.255.255", Zone::Special),
            ("::1", Zone::Loopback),
            ("::", Zone::Special),
            ("::ffff:169.254.169.254", Zone::Special),
            ("::ffff:10.0.0.1", Zone::Private),
            ("64:ff9b::a9fe:a9fe", Zone::Special),
            ("fd00:ec2::254", Zone::Private),
            ("fe80::1", Zone::Special),
            ("2002:a9fe:a9fe::1", Zone::Special),
            ("2002:7f00:1::", Zone::Loopback),
            ("2002:101:101::", Zone::Public),
            ("2001:0:101:101::1", Zone::Special),
            ("2001:4860::8888", Zone::Public),
            ("2606:4700::1111", Zone::Public),
        ];
        for (address, zone) in table {
            assert_eq!(Zone::of(address.parse().unwrap()), zone, "{address}");
        }
        assert!(Reach::Beside(Zone::Loopback).allows("127.0.0.2".parse().unwrap()));
        assert!(!Reach::Beside(Zone::Loopback).allows("10.0.0.1".parse().unwrap()));
        assert!(!Reach::Beside(Zone::Public).allows("169.254.169.254".parse().unwrap()));
    }

    #[test]
    fn of_other_networks_only_the_registrys_own_address_is_reached() {
        for (own, address, allowed) in [
            (Some("10.0.0.1"), "10.0.0.1", true),
            (Some("10.0.0.1"), "::ffff:10.0.0.1", true),
            (Some("10.0.0.1"), "10.0.0.2", false),
            (Some("127.0.0.1"), "127.0.0.2", false),
            (Some("10.0.0.1"), "1.1.1.1", true),
            (None, "169.254.169.254", false),
        ] {
            let reach = Reach::At(own.map(|own| own.parse().unwrap()));
            assert_eq!(reach.allows(address.parse().unwrap()), allowed, "{own:?} {address}");
        }
    }
}
