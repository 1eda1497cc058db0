// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The DHCP server as its clients see it.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod any;
#[path = "../common/dhcp.rs"]
mod dhcp;

use dhcp::{bytes, request};
use hvl_services::dhcp::{Server, LEASES, LEASE_SECONDS, MESSAGE_MAX};
use smoltcp::wire::{
    DhcpMessageType as Kind, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Address,
    Ipv4Cidr,
};
use std::collections::BTreeSet;

const OWN: Ipv4Address = Ipv4Address::new(10, 77, 0, 1);
const LINUX: Ipv4Address = Ipv4Address::new(10, 77, 0, 2);
const FIRST: Ipv4Address = Ipv4Address::new(10, 77, 0, 128);
const ELSEWHERE: Ipv4Address = Ipv4Address::new(10, 77, 0, 77);
const NONE: Ipv4Address = Ipv4Address::UNSPECIFIED;
const LINUX_MAC: EthernetAddress = mac(2);
/// Milliseconds of a lease, of an offer, and of an address that somebody else uses.
const LEASE: u64 = LEASE_SECONDS as u64 * 1000;
const OFFER: u64 = 60_000;
const AVOID: u64 = 600_000;

const fn mac(number: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, number])
}

/// A link with its server.
struct Link {
    server: Server,
    now: u64,
}

/// An answer: its type, the address in it, and where it goes.
type Answer = (Kind, Ipv4Address, Ipv4Address, EthernetAddress);

/// What everybody hears.
const ALL: (Ipv4Address, EthernetAddress) = (Ipv4Address::BROADCAST, EthernetAddress::BROADCAST);
const NAK: Option<Answer> = Some((Kind::Nak, NONE, ALL.0, ALL.1));

impl Link {
    fn new() -> Self {
        Self::at("10.77.0.1/24".parse().unwrap(), LINUX)
    }

    fn at(own: Ipv4Cidr, linux: Ipv4Address) -> Self {
        Self {
            server: Server::new(own, LINUX_MAC, linux),
            now: 5,
        }
    }

    fn ask(&mut self, repr: &DhcpRepr<'_>) -> Option<Answer> {
        let mut answer = [0; MESSAGE_MAX];
        let reply = self.server.handle(self.now, &bytes(repr), &mut answer)?;
        let packet = DhcpPacket::new_checked(&answer[..reply.len]).unwrap();
        let found = DhcpRepr::parse(&packet).unwrap();
        assert_eq!(found.transaction_id, repr.transaction_id);
        assert_eq!(found.client_hardware_address, repr.client_hardware_address);
        assert_eq!(found.broadcast, repr.broadcast);
        assert_eq!(found.server_identifier, Some(OWN));
        assert_eq!(found.router, None);
        let lends = found.your_ip != NONE;
        assert_eq!(found.lease_duration, lends.then_some(LEASE_SECONDS));
        let nak = found.message_type == Kind::Nak;
        let mask = Ipv4Address::new(255, 255, 255, 0);
        assert_eq!(found.subnet_mask, (!nak).then_some(mask));
        Some((found.message_type, found.your_ip, reply.to, reply.mac))
    }

    fn discover(&mut self, mac: EthernetAddress) -> Option<Ipv4Address> {
        let (kind, address, ..) = self.ask(&request(Kind::Discover, mac))?;
        assert_eq!(kind, Kind::Offer);
        Some(address)
    }

    /// Asks for `address` after an offer.
    fn select(&mut self, mac: EthernetAddress, address: Ipv4Address) -> Option<Answer> {
        self.ask(&DhcpRepr {
            requested_ip: Some(address),
            server_identifier: Some(OWN),
            ..request(Kind::Request, mac)
        })
    }

    /// The whole of it.
    fn lease(&mut self, mac: EthernetAddress) -> Option<Ipv4Address> {
        let address = self.discover(mac)?;
        let answer = self.select(mac, address);
        assert_eq!(answer, Some((Kind::Ack, address, address, mac)));
        Some(address)
    }
}

#[test]
fn linuxs_interface_gets_its_address_and_others_get_others() {
    let mut link = Link::new();
    assert_eq!(link.lease(mac(9)), Some(FIRST));
    assert_eq!(link.lease(LINUX_MAC), Some(LINUX));
    assert_eq!(link.lease(mac(10)), Some(Ipv4Address::new(10, 77, 0, 129)));
    // Again, the same.
    assert_eq!(link.lease(mac(9)), Some(FIRST));
    let stats = link.server.stats(link.now);
    assert_eq!((stats.used, stats.offered, stats.lent), (3, 4, 4));
    assert_eq!((stats.bad, stats.refused, stats.full), (0, 0, 0));
}

#[test]
fn linuxs_address_is_for_nobody_else() {
    let mut link = Link::new();
    assert_eq!(link.select(mac(9), LINUX), NAK);
    assert_eq!(
        link.select(LINUX_MAC, LINUX),
        Some((Kind::Ack, LINUX, LINUX, LINUX_MAC))
    );
    link.now += 2 * LEASE;
    assert_eq!(link.select(mac(9), LINUX), NAK);
    // Nor does it get another one.
    assert_eq!(link.select(LINUX_MAC, FIRST), NAK);
    assert_eq!(link.server.stats(link.now).refused, 3);
}

#[test]
fn a_client_is_known_by_its_identifier() {
    let mut link = Link::new();
    let long = [7; 135];
    let too_long = [7; 136];
    let ask = |link: &mut Link, id: &'static [u8], mac| {
        let option = [DhcpOption { kind: 61, data: id }];
        let mut answer = [0; MESSAGE_MAX];
        let repr = DhcpRepr {
            additional_options: &option,
            ..request(Kind::Discover, mac)
        };
        let reply = link
            .server
            .handle(link.now, &bytes(&repr), &mut answer)
            .unwrap();
        let packet = DhcpPacket::new_checked(&answer[..reply.len]).unwrap();
        // RFC 6842: it comes back as it was.
        let mut options = packet.options();
        assert!(options.any(|option| option.kind == 61 && option.data == id));
        packet.your_ip()
    };
    let (long, too_long): (&'static [u8], &'static [u8]) =
        (long.to_vec().leak(), too_long.to_vec().leak());
    let first = ask(&mut link, b"\xff1234client", mac(9));
    assert_eq!(first, FIRST);
    // The same one with another card, and another one with the same card.
    assert_eq!(ask(&mut link, b"\xff1234client", mac(10)), first);
    let other = ask(&mut link, b"\xff1234clienu", mac(9));
    assert_ne!(other, first);
    // Seven bytes that are no Ethernet address.
    let seven = ask(&mut link, b"\0seven!", mac(9));
    assert!(![first, other].contains(&seven));
    // As long as can be; longer ones and empty ones go by the card.
    let longest = ask(&mut link, long, mac(9));
    assert_eq!(ask(&mut link, long, mac(11)), longest);
    let by_card = ask(&mut link, too_long, mac(9));
    assert_ne!(by_card, longest);
    assert_eq!(ask(&mut link, b"x", mac(9)), by_card);
    // The identifier that most send says the same as none.
    assert_eq!(ask(&mut link, b"\x01\x02\0\0\0\0\x09", mac(9)), by_card);
    assert_eq!(link.discover(mac(9)), Some(by_card));
    // Linux's interface has its address, whatever it calls itself.
    assert_eq!(ask(&mut link, b"\xff1234client", LINUX_MAC), LINUX);
}

#[test]
fn who_has_an_address_hears_of_it_there() {
    let mut link = Link::new();
    let mine = link.lease(mac(9)).unwrap();
    let renew = DhcpRepr {
        client_ip: mine,
        ..request(Kind::Request, mac(9))
    };
    link.now += LEASE / 2;
    let ack = Some((Kind::Ack, mine, mine, mac(9)));
    assert_eq!(link.ask(&renew), ack);
    // It counts from then on.
    link.now += LEASE - 1;
    assert_eq!(link.server.stats(link.now).used, 1);
    link.now += 1;
    assert_eq!(link.server.stats(link.now).used, 0);
    // Late, but nobody else has come.
    assert_eq!(link.ask(&renew), ack);
    // Whoever cannot be reached otherwise says so.
    let broadcast = DhcpRepr {
        broadcast: true,
        ..request(Kind::Discover, mac(9))
    };
    assert_eq!(
        link.ask(&broadcast),
        Some((Kind::Offer, mine, ALL.0, ALL.1))
    );
}

#[test]
fn a_server_that_has_forgotten_lets_clients_keep_what_they_have() {
    let mut link = Link::new();
    let renew = DhcpRepr {
        client_ip: Ipv4Address::new(10, 77, 0, 131),
        ..request(Kind::Request, mac(9))
    };
    assert_eq!(
        link.ask(&renew),
        Some((Kind::Ack, renew.client_ip, renew.client_ip, mac(9)))
    );
    assert_eq!(link.discover(mac(9)), Some(renew.client_ip));
    // It is somebody's now.
    let other = DhcpRepr {
        client_hardware_address: mac(10),
        ..renew
    };
    assert_eq!(link.ask(&other), NAK);
}

#[test]
fn wrong_addresses_are_refused() {
    let mut link = Link::new();
    for address in [
        Ipv4Address::new(192, 168, 1, 5),
        Ipv4Address::new(10, 77, 0, 0),
        Ipv4Address::new(10, 77, 0, 255),
        Ipv4Address::new(10, 77, 0, 3),
        Ipv4Address::BROADCAST,
        OWN,
    ] {
        assert_eq!(link.select(mac(9), address), NAK, "{address}");
        let init_reboot = DhcpRepr {
            requested_ip: Some(address),
            ..request(Kind::Request, mac(9))
        };
        assert_eq!(link.ask(&init_reboot), NAK, "{address}");
        let renew = DhcpRepr {
            client_ip: address,
            ..request(Kind::Request, mac(9))
        };
        assert_eq!(link.ask(&renew), NAK, "{address}");
    }
    assert_eq!(link.server.stats(link.now).refused, 18);
    assert_eq!(link.server.stats(link.now).used, 0);
}

#[test]
fn an_offer_is_kept_for_a_while() {
    let mut link = Link::new();
    assert_eq!(link.discover(mac(9)), Some(FIRST));
    assert_eq!(link.select(mac(10), FIRST), NAK);
    link.now += OFFER;
    assert!(link
        .select(mac(10), FIRST)
        .is_some_and(|answer| answer.0 == Kind::Ack));
    // Somebody wants another one, if it is free.
    let want = |address| DhcpRepr {
        requested_ip: Some(address),
        ..request(Kind::Discover, mac(11))
    };
    let answer = link.ask(&want(FIRST)).unwrap();
    assert_ne!(answer.1, FIRST);
    link.now += OFFER + LEASE;
    // What it was offered once comes before what it wants.
    assert_eq!(link.ask(&want(FIRST)).unwrap().1, answer.1);
    let third = DhcpRepr {
        client_hardware_address: mac(12),
        ..want(FIRST)
    };
    assert_eq!(link.ask(&third).unwrap().1, FIRST);
}

#[test]
fn released_and_declined_addresses() {
    let mut link = Link::new();
    let mine = link.lease(mac(9)).unwrap();
    let release = DhcpRepr {
        client_ip: mine,
        server_identifier: Some(OWN),
        ..request(Kind::Release, mac(9))
    };
    // Not by others.
    let other = DhcpRepr {
        client_hardware_address: mac(10),
        ..release.clone()
    };
    assert_eq!(link.ask(&other), None);
    assert_eq!(link.server.stats(link.now).used, 1);
    assert_eq!(link.ask(&release), None);
    assert_eq!(link.server.stats(link.now).used, 0);
    // The same again, as long as nobody else had it.
    assert_eq!(link.lease(mac(9)), Some(mine));

    let decline = DhcpRepr {
        message_type: Kind::Decline,
        client_ip: NONE,
        requested_ip: Some(mine),
        ..release
    };
    let other = DhcpRepr {
        client_hardware_address: mac(10),
        ..decline.clone()
    };
    assert_eq!(link.ask(&other), None);
    assert_eq!(link.server.stats(link.now).declined, 0);
    assert_eq!(link.ask(&decline), None);
    assert_eq!(link.server.stats(link.now).declined, 1);
    assert_eq!(link.select(mac(9), mine), NAK);
    assert_ne!(link.lease(mac(9)), Some(mine));
    link.now += AVOID;
    assert!(link
        .select(mac(10), mine)
        .is_some_and(|answer| answer.0 == Kind::Ack));

    // Somebody else's 10.77.0.2: Linux gets another address meanwhile.
    assert_eq!(link.lease(LINUX_MAC), Some(LINUX));
    let decline = DhcpRepr {
        requested_ip: Some(LINUX),
        ..request(Kind::Decline, LINUX_MAC)
    };
    assert_eq!(link.ask(&decline), None);
    let meanwhile = link.lease(LINUX_MAC).unwrap();
    assert_ne!(meanwhile, LINUX);
    link.now += AVOID;
    let used = link.server.stats(link.now).used;
    assert_eq!(link.lease(LINUX_MAC), Some(LINUX));
    // The other one is given back.
    assert_eq!(link.server.stats(link.now).used, used);
}

#[test]
fn a_full_table_is_counted_and_the_oldest_lease_goes_first() {
    let mut link = Link::new();
    let mut lent = BTreeSet::new();
    for number in 0..LEASES as u8 - 1 {
        let address = link.lease(mac(100 + number)).unwrap();
        assert!(lent.insert(address) && address != LINUX && address != OWN);
        link.now += 1000;
    }
    assert_eq!(link.lease(mac(1)), None);
    assert_eq!(link.lease(mac(1)), None);
    assert_eq!(link.server.stats(link.now).full, 2);
    // Linux's own is kept for it.
    assert_eq!(link.lease(LINUX_MAC), Some(LINUX));
    assert_eq!(link.server.stats(link.now).used, LEASES);
    // They expire in the order in which they came; but the first has renewed its lease.
    link.now += LEASE / 2;
    link.select(mac(100), FIRST);
    link.now += LEASE / 2;
    let at = |host| Some(Ipv4Address::new(10, 77, 0, host));
    assert_eq!(link.lease(mac(1)), at(129));
    assert_eq!(link.lease(mac(3)), at(130));
    // Whoever had it gets another one.
    assert_eq!(link.lease(mac(101)), at(131));
    // All are free, and that of the first for the shortest time of those that are left.
    link.now += 2 * LEASE;
    for host in 132..159 {
        assert_eq!(link.lease(mac(host - 60)), at(host));
    }
    assert_eq!(link.lease(mac(4)), Some(FIRST));
    assert_eq!(link.lease(mac(5)), at(129));
}

#[test]
fn only_so_many_addresses_as_the_subnet_has() {
    for (own, linux, others) in [
        ("10.77.0.1/30", [10, 77, 0, 2], vec![]),
        ("10.77.0.1/29", [10, 77, 0, 2], vec![4, 5, 6]),
        ("10.77.0.1/28", [10, 77, 0, 8], vec![9, 10, 11, 12, 13, 14]),
    ] {
        let server = Server::new(own.parse().unwrap(), LINUX_MAC, linux.into());
        let mut link = Link { server, now: 5 };
        let mut found = Vec::new();
        for number in 3..40 {
            let mut answer = [0; MESSAGE_MAX];
            let message = bytes(&request(Kind::Discover, mac(number)));
            let Some(reply) = link.server.handle(link.now, &message, &mut answer) else {
                break;
            };
            let packet = DhcpPacket::new_checked(&answer[..reply.len]).unwrap();
            found.push(packet.your_ip().octets()[3]);
        }
        assert_eq!(found, others, "{own}");
    }
}

#[test]
fn other_servers_relays_and_nonsense_are_not_answered() {
    let mut link = Link::new();
    let mine = link.discover(mac(9)).unwrap();
    // It has taken another server's offer.
    let elsewhere = DhcpRepr {
        server_identifier: Some(ELSEWHERE),
        requested_ip: Some(ELSEWHERE),
        ..request(Kind::Request, mac(9))
    };
    assert_eq!(link.ask(&elsewhere), None);
    let stats = link.server.stats(link.now);
    assert_eq!((stats.elsewhere, stats.used, stats.bad), (1, 0, 0));
    assert!(link.lease(mac(10)).is_some());

    let base = request(Kind::Discover, mac(9));
    let relayed = DhcpRepr {
        relay_agent_ip: ELSEWHERE,
        ..base.clone()
    };
    let nobody = DhcpRepr {
        client_hardware_address: EthernetAddress([0; 6]),
        ..base.clone()
    };
    let everybody = DhcpRepr {
        client_hardware_address: EthernetAddress::BROADCAST,
        ..base.clone()
    };
    let nothing = request(Kind::Request, mac(9));
    let not_given = DhcpRepr {
        requested_ip: Some(mine),
        ..request(Kind::Decline, mac(9))
    };
    let no_address = request(Kind::Inform, mac(9));
    let far = DhcpRepr {
        client_ip: Ipv4Address::new(192, 168, 1, 1),
        ..no_address.clone()
    };
    let all = [
        relayed, nobody, everybody, nothing, not_given, no_address, far,
    ];
    for (count, repr) in (1..).zip(&all) {
        assert_eq!(link.ask(repr), None, "{repr:?}");
        assert_eq!(link.server.stats(link.now).bad, count);
    }
    let mut answer = [0; MESSAGE_MAX];
    let good = bytes(&base);
    for (at, value) in [(0, 2), (1, 6), (2, 5), (236, 0), (240, 0), (242, 99)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert_eq!(
            link.server.handle(link.now, &bytes, &mut answer),
            None,
            "{at}"
        );
    }
    assert_eq!(
        link.server.handle(link.now, &good[..239], &mut answer),
        None
    );
    assert_eq!(link.server.stats(link.now).bad, all.len() as u64 + 7);
}

#[test]
fn who_has_an_address_of_its_own_is_told_the_rest() {
    let mut link = Link::new();
    let inform = DhcpRepr {
        client_ip: ELSEWHERE,
        ..request(Kind::Inform, mac(9))
    };
    assert_eq!(
        link.ask(&inform),
        Some((Kind::Ack, NONE, ELSEWHERE, mac(9)))
    );
    let stats = link.server.stats(link.now);
    assert_eq!((stats.informed, stats.used), (1, 0));
}
