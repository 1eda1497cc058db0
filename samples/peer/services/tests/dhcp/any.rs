// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Clients that do anything in any order, and messages that are anything.

use crate::{bytes, mac, request, Link, AVOID, ELSEWHERE, LEASE, LINUX, LINUX_MAC, NONE, OWN};
use hvl_services::dhcp::{LEASES, MESSAGE_MAX};
use proptest::prelude::*;
use smoltcp::wire::{DhcpMessageType as Kind, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Address};
use std::collections::BTreeMap;

/// What a client does next: who, what, about which address, and when.
type Step = (u8, u8, u8, u32);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![8 => 0u32..2000, 2 => 0u32..100_000, 1 => 0u32..4_000_000];
    prop::collection::vec((0u8..40, 0u8..12, any::<u8>(), wait), 1..400)
}

proptest! {
    #[test]
    fn no_address_is_two_clients(steps in steps()) {
        let mut link = Link::new();
        // Until when who was told to have what.
        let mut leases: BTreeMap<Ipv4Address, (EthernetAddress, u64)> = BTreeMap::new();
        let mut offers: BTreeMap<EthernetAddress, Ipv4Address> = BTreeMap::new();
        for (who, what, address, wait) in steps {
            link.now += u64::from(wait);
            let now = link.now;
            let mac = mac(who + 2);
            let some = Ipv4Address::new(10, 77, 0, if address < 100 { 128 + address % 33 } else { address });
            let offered = offers.get(&mac).copied().unwrap_or(some);
            let (kind, requested, has, server) = match what {
                0..=2 => (Kind::Discover, (address & 1 == 0).then_some(some), NONE, None),
                3..=5 => (Kind::Request, Some(offered), NONE, Some(OWN)),
                6 => (Kind::Request, Some(some), NONE, None),
                7 => (Kind::Request, None, offered, None),
                8 => (Kind::Request, Some(ELSEWHERE), NONE, Some(ELSEWHERE)),
                9 => (Kind::Release, None, offered, Some(OWN)),
                10 => (Kind::Decline, Some(offered), NONE, Some(OWN)),
                _ => (Kind::Inform, None, some, None),
            };
            let repr = DhcpRepr {
                requested_ip: requested,
                client_ip: has,
                server_identifier: server,
                ..request(kind, mac)
            };
            let answer = link.ask(&repr);
            let held = |address| leases.get(&address).copied()
                .filter(|(owner, until)| *owner != mac && *until > now);
            match answer {
                Some((Kind::Offer, address, ..)) => {
                    prop_assert_eq!(held(address), None);
                    prop_assert!(address == LINUX || address.octets()[3] >= 128);
                    prop_assert!(address != LINUX || mac == LINUX_MAC);
                    offers.insert(mac, address);
                }
                Some((Kind::Ack, address, ..)) if kind == Kind::Request => {
                    prop_assert_eq!(held(address), None);
                    prop_assert_eq!(address, requested.unwrap_or(has));
                    prop_assert!(address != LINUX || mac == LINUX_MAC);
                    prop_assert!(address != OWN && address.octets()[3] != 255);
                    leases.retain(|_, (owner, _)| *owner != mac);
                    leases.insert(address, (mac, now + LEASE));
                    offers.insert(mac, address);
                }
                _ => {}
            }
            match what {
                8 => leases.retain(|_, (owner, _)| *owner != mac),
                9 | 10 => leases.retain(|at, (owner, _)| *owner != mac || *at != offered),
                _ => {}
            }
            prop_assert!(link.server.stats(now).used <= LEASES);
        }
        // Some time later there is an address for everybody.
        link.now += LEASE + AVOID;
        for who in 0..LEASES as u8 {
            prop_assert!(link.discover(mac(who + 2)).is_some());
        }
    }

    #[test]
    fn anything_goes_in(
        data in prop::collection::vec(any::<u8>(), 0..600),
        twists in prop::collection::vec((any::<u16>(), any::<u8>()), 0..20),
        now in any::<u64>(),
    ) {
        let mut link = Link::new();
        let mut answer = [0; MESSAGE_MAX];
        let _ = link.server.handle(now, &data, &mut answer);
        // What begins as it should, and goes on as it likes.
        let mut message = bytes(&request(Kind::Discover, mac(9)));
        message.pop();
        message.extend(&data);
        for (at, byte) in twists {
            let at = usize::from(at) % message.len();
            message[at] = byte;
            if let Some(reply) = link.server.handle(now, &message, &mut answer) {
                prop_assert!(reply.len <= MESSAGE_MAX);
                prop_assert!(DhcpPacket::new_checked(&answer[..reply.len]).is_ok());
            }
        }
    }
}
