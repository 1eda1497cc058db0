// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Who has which address, and until when.

use core::fmt;
use smoltcp::wire::{EthernetAddress, Ipv4Address, Ipv4Cidr};

/// Addresses that can be lent at a time, Linux's own among them.
pub const LEASES: usize = 32;
/// Longest client identifier that is kept, in bytes: type 255, IAID, and the longest DUID
/// (RFC 4361 6.1, RFC 8415 11.1).
pub(crate) const ID_MAX: usize = 1 + 4 + 130;

/// Milliseconds for which an address is lent.
pub(crate) const LEASE: u64 = 60 * 60 * 1000;
/// Milliseconds for which an offered address is kept for whom it was offered to.
pub(crate) const OFFER: u64 = 60 * 1000;
/// Milliseconds for which an address is not lent after somebody else was found to use it.
pub(crate) const AVOID: u64 = 10 * 60 * 1000;

/// By what a client is known again (RFC 2131 2): its identifier, or its hardware address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// 0: nobody.
    len: u8,
    id: [u8; ID_MAX],
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.get(..usize::from(self.len)).unwrap_or(&[]);
        f.debug_tuple("Client").field(&id).finish()
    }
}

impl Client {
    const NOBODY: Self = Self {
        len: 0,
        id: [0; ID_MAX],
    };

    /// The client with this identifier, if it has one that makes sense, and this address.
    pub(crate) fn new(id: Option<&[u8]>, mac: EthernetAddress) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        // What most clients call themselves if they send an identifier (RFC 2132 9.14).
        let by_address = [1, a, b, c, d, e, f];
        let id = id
            .filter(|id| (2..=ID_MAX).contains(&id.len()))
            .unwrap_or(&by_address);
        let mut client = Self::NOBODY;
        for (to, from) in client.id.iter_mut().zip(id) {
            *to = *from;
        }
        client.len = id.len() as u8;
        client
    }
}

/// One address.
#[derive(Clone, Copy, Debug)]
struct Lease {
    address: Ipv4Address,
    /// Whom it was lent or offered to last.
    client: Client,
    /// Milliseconds since boot up to which nobody else gets it; 0: nobody has had it.
    until: u64,
}

impl Lease {
    const fn new(address: Ipv4Address) -> Self {
        Self {
            address,
            client: Client::NOBODY,
            until: 0,
        }
    }

    const fn is_free(&self, now: u64) -> bool {
        self.until <= now
    }

    /// Whether somebody unknown uses it.
    fn is_avoided(&self, now: u64) -> bool {
        self.client == Client::NOBODY && !self.is_free(now)
    }
}

/// The addresses that are lent: Linux's own, and some from the middle of the link's subnet on.
#[derive(Debug)]
pub(crate) struct Leases {
    /// The interface that the address behind ours is kept for.
    linux: EthernetAddress,
    own: Lease,
    others: [Option<Lease>; LEASES - 1],
}

impl Leases {
    /// None is lent. `linux` is the Ethernet address whose interface gets `address`, which nobody
    /// else does; `peer` is our own address, with its subnet.
    pub(crate) fn new(linux: EthernetAddress, address: Ipv4Address, peer: Ipv4Cidr) -> Self {
        let hosts = !peer.netmask().to_bits();
        let network = peer.address().to_bits() & !hosts;
        // The last address of a subnet is everybody's. The middle, since people who choose an
        // address themselves begin at an end.
        let mut free = (hosts / 2..hosts)
            .skip(1)
            .map(|host| Ipv4Address::from_bits(network | host))
            .filter(|other| *other != peer.address() && *other != address);
        Self {
            linux,
            own: Lease::new(address),
            others: core::array::from_fn(|_| free.next().map(Lease::new)),
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Lease> {
        core::iter::once(&mut self.own).chain(self.others.iter_mut().flatten())
    }

    /// How many are lent or offered.
    pub(crate) fn used(&self, now: u64) -> usize {
        let others = self.others.iter().flatten();
        let all = core::iter::once(&self.own).chain(others);
        all.filter(|lease| !lease.is_free(now)).count()
    }

    /// Whether this is the interface that has an address of its own, and can use it.
    fn is_linux(&self, mac: EthernetAddress, now: u64) -> bool {
        mac == self.linux && !self.own.is_avoided(now)
    }

    /// The lease of `address`, if it is one that this client may have.
    fn allowed(
        &mut self,
        client: &Client,
        mac: EthernetAddress,
        address: Ipv4Address,
        now: u64,
    ) -> Option<&mut Lease> {
        if self.is_linux(mac, now) {
            // Whatever it calls itself: a program that is started after another one, on the
            // same interface, may do so differently.
            return Some(&mut self.own).filter(|lease| lease.address == address);
        }
        let mut others = self.others.iter_mut().flatten();
        let lease = others.find(|lease| lease.address == address)?;
        (lease.client == *client || lease.is_free(now)).then_some(lease)
    }

    /// Chooses an address for a client, which may `want` a certain one, and keeps it for a while.
    /// `None` if all are in use.
    pub(crate) fn offer(
        &mut self,
        client: &Client,
        mac: EthernetAddress,
        want: Option<Ipv4Address>,
        now: u64,
    ) -> Option<Ipv4Address> {
        // RFC 2131 4.3.1: what it has or had; what it wants; any other, here that which has not
        // been used for the longest time.
        let address = if self.is_linux(mac, now) {
            self.own.address
        } else {
            let others = || self.others.iter().flatten();
            let had = others().find(|lease| lease.client == *client);
            let wanted = others().find(|lease| want == Some(lease.address) && lease.is_free(now));
            let oldest = || {
                let free = others().filter(|lease| lease.is_free(now));
                free.min_by_key(|lease| lease.until)
            };
            had.or(wanted).or_else(oldest)?.address
        };
        let lease = self.allowed(client, mac, address, now)?;
        if lease.client != *client {
            lease.until = 0;
        }
        lease.client = *client;
        lease.until = lease.until.max(now.saturating_add(OFFER));
        Some(address)
    }

    /// Lends `address` to a client, which has no other one from then on; `None` if it may not have
    /// it, otherwise whether it is new to it.
    pub(crate) fn lend(
        &mut self,
        client: &Client,
        mac: EthernetAddress,
        address: Ipv4Address,
        now: u64,
    ) -> Option<bool> {
        let lease = self.allowed(client, mac, address, now)?;
        // An offer does not last that long.
        let new = lease.client != *client || lease.until <= now.saturating_add(OFFER);
        lease.client = *client;
        lease.until = now.saturating_add(LEASE);
        for other in self.all() {
            if other.client == *client && other.address != address {
                other.client = Client::NOBODY;
                other.until = other.until.min(now);
            }
        }
        Some(new)
    }

    /// Takes back what a client has, or only `address`: it may still be offered the same again.
    pub(crate) fn release(&mut self, client: &Client, address: Option<Ipv4Address>, now: u64) {
        for lease in self.all() {
            if lease.client == *client && address.is_none_or(|address| address == lease.address) {
                lease.until = lease.until.min(now);
            }
        }
    }

    /// A client has found that somebody else uses the `address` that it was given: nobody gets
    /// that for a while. `false` if it was not given it.
    pub(crate) fn avoid(&mut self, client: &Client, address: Ipv4Address, now: u64) -> bool {
        let mut all = self.all();
        let given = all.find(|lease| lease.address == address && lease.client == *client);
        let Some(lease) = given.filter(|lease| !lease.is_free(now)) else {
            return false;
        };
        lease.client = Client::NOBODY;
        lease.until = now.saturating_add(AVOID);
        true
    }
}
