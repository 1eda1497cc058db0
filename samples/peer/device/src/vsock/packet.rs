// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The packet header of the socket device (VIRTIO 5.10.6).

#![forbid(unsafe_code)]

/// Bytes of the header.
pub const HEADER: usize = 44;
/// Socket type: a stream.
pub const TYPE_STREAM: u16 = 1;
/// Socket type: messages.
pub const TYPE_SEQPACKET: u16 = 2;

/// Operations (VIRTIO 5.10.6).
pub mod op {
    /// Opens a connection.
    pub const REQUEST: u16 = 1;
    /// Accepts it.
    pub const RESPONSE: u16 = 2;
    /// Ends or refuses it.
    pub const RST: u16 = 3;
    /// Sends or receives no more.
    pub const SHUTDOWN: u16 = 4;
    /// Carries bytes.
    pub const RW: u16 = 5;
    /// Tells how much room there is.
    pub const CREDIT_UPDATE: u16 = 6;
    /// Asks for that.
    pub const CREDIT_REQUEST: u16 = 7;
}

/// Flag of [`op::RW`]: a message ends here (VIRTIO 5.10.6.6.1).
pub const SEQ_EOM: u32 = 1;
/// Flag of [`op::RW`]: with it a record ends.
pub const SEQ_EOR: u32 = 2;

/// Flag of [`op::SHUTDOWN`]: receives no more.
pub const SHUTDOWN_RCV: u32 = 1;
/// Flag of [`op::SHUTDOWN`]: sends no more.
pub const SHUTDOWN_SEND: u32 = 2;
/// Both of them.
pub const SHUTDOWN_BOTH: u32 = SHUTDOWN_RCV | SHUTDOWN_SEND;

/// A packet's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Sender.
    pub src_cid: u64,
    /// Receiver.
    pub dst_cid: u64,
    /// Sender's port.
    pub src_port: u32,
    /// Receiver's port.
    pub dst_port: u32,
    /// Bytes behind the header.
    pub len: u32,
    /// Socket type.
    pub kind: u16,
    /// Operation.
    pub op: u16,
    /// Flags of the operation.
    pub flags: u32,
    /// Size of the sender's receive buffer.
    pub buf_alloc: u32,
    /// Bytes that have left that buffer since the connection was opened, wrapping.
    pub fwd_cnt: u32,
}

impl Header {
    /// The header in a private copy of its bytes.
    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let word = |at: usize| {
            let mut four = [0; 4];
            for (to, from) in four.iter_mut().zip(bytes.iter().skip(at)) {
                *to = *from;
            }
            u32::from_le_bytes(four)
        };
        let wide = |at| u64::from(word(at)) | (u64::from(word(at + 4)) << 32);
        Self {
            src_cid: wide(0),
            dst_cid: wide(8),
            src_port: word(16),
            dst_port: word(20),
            len: word(24),
            kind: word(28) as u16,
            op: (word(28) >> 16) as u16,
            flags: word(32),
            buf_alloc: word(36),
            fwd_cnt: word(40),
        }
    }

    /// The bytes to send.
    pub fn emit(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let words = [
            self.src_cid as u32,
            (self.src_cid >> 32) as u32,
            self.dst_cid as u32,
            (self.dst_cid >> 32) as u32,
            self.src_port,
            self.dst_port,
            self.len,
            u32::from(self.kind) | (u32::from(self.op) << 16),
            self.flags,
            self.buf_alloc,
            self.fwd_cnt,
        ];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The refusal of this packet.
    pub const fn refusal(&self) -> Self {
        Self {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            len: 0,
            kind: self.kind,
            op: op::RST,
            flags: 0,
            buf_alloc: 0,
            fwd_cnt: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn emit_undoes_parse(bytes in prop::array::uniform32(any::<u8>()), rest in any::<[u8; 12]>()) {
            let mut all = [0; HEADER];
            all[..32].copy_from_slice(&bytes);
            all[32..].copy_from_slice(&rest);
            prop_assert_eq!(Header::parse(&all).emit(), all);
        }
    }

    #[test]
    fn fields_stand_where_the_specification_says() {
        let mut bytes = [0; HEADER];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = at as u8;
        }
        let header = Header::parse(&bytes);
        assert_eq!(header.src_cid, 0x0706_0504_0302_0100);
        assert_eq!(header.dst_port, 0x1716_1514);
        assert_eq!(header.kind, 0x1d1c);
        assert_eq!(header.op, 0x1f1e);
        assert_eq!(header.fwd_cnt, 0x2b2a_2928);
    }
}
