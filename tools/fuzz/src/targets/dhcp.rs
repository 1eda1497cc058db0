// SPDX-License-Identifier: GPL-2.0 OR MIT

//! DHCP messages of Linux's.

use crate::input::Input;
use hvl_services::dhcp::{Server, LEASES, MESSAGE_MAX};
use smoltcp::wire::{DhcpOpCode, DhcpPacket, EthernetAddress, Ipv4Address};

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let own = "10.77.0.1/24".parse().unwrap();
    let linux = Ipv4Address::new(10, 77, 0, 2);
    let mut server = Server::new(own, EthernetAddress([2, 0, 0, 0, 0, 2]), linux);
    let mut now = 0u64;
    while !input.is_empty() {
        now += u64::from(input.half()) * 100;
        let shape = input.byte();
        let len = usize::from(input.half()) % 600;
        let mut message = input.bytes(len).to_vec();
        if shape & 1 != 0 && message.len() > 240 {
            // A request over Ethernet with the cookie.
            message[..4].copy_from_slice(&[1, 1, 6, 0]);
            message[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        }
        let mut answer = [0; MESSAGE_MAX];
        if let Some(reply) = server.handle(now, &message, &mut answer) {
            let packet = DhcpPacket::new_checked(&answer[..reply.len]).unwrap();
            // (smoltcp itself refuses what a client may call itself, and is told again.)
            let yours = packet.your_ip();
            assert!(yours.is_unspecified() || yours.octets()[..3] == [10, 77, 0]);
            assert_eq!(packet.opcode(), DhcpOpCode::Reply);
            assert_eq!(
                packet.options().filter(|option| option.kind == 53).count(),
                1
            );
        }
        assert!(server.stats(now).used <= LEASES);
    }
}
