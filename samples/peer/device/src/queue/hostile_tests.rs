// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Virtqueues of both kinds while the driver writes anything anywhere: no panic, no chain outside
//! the pool, nothing written but what is the device's, and no end that the driver decides.

use super::*;
use proptest::prelude::*;

pub(super) const SIZE: u32 = 0x8000;
pub(super) const BASE: u64 = 0x4000_0000;
/// The pool begins behind the first page.
pub(super) const POOL: u32 = 0x1000;
pub(super) const DESC: u32 = 0x2000;
pub(super) const DRIVER: u32 = 0x5000;
pub(super) const DEVICE: u32 = 0x6000;

#[repr(C, align(4096))]
struct Memory([u8; SIZE as usize]);

/// A queue and its memory.
pub(super) struct Bench {
    // Boxed so that the region does not move.
    memory: Box<Memory>,
    pub(super) mem: Region,
    pub(super) pool: Pool,
    pub(super) queue: Virtqueue,
}

impl Bench {
    #[expect(unsafe_code, reason = "a region is raw memory")]
    pub(super) fn new(size: u16, features: Features) -> Self {
        let mut memory = Box::new(Memory([0; SIZE as usize]));
        // SAFETY: The box lives as long as the region, and nothing else looks into it meanwhile.
        let mem = unsafe { Region::new(memory.0.as_mut_ptr(), SIZE) }.unwrap();
        let pool = Pool::new(BASE, POOL, SIZE - POOL);
        let layout = Layout {
            size: size.into(),
            desc: BASE + u64::from(DESC),
            driver: BASE + u64::from(DRIVER),
            device: BASE + u64::from(DEVICE),
        };
        let queue = Virtqueue::new(&layout, &pool, features).unwrap();
        Self {
            memory,
            mem,
            pool,
            queue,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; SIZE as usize];
        assert!(self.mem.read_bytes(0, &mut bytes));
        assert_eq!(bytes.len(), self.memory.0.len());
        bytes
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// The driver writes a word: of the ring, its area, ours, or tables.
    Write(u8, u32, u32),
    /// It makes descriptor `at` look fine, but for what it names.
    Fine(u16, u32, u32, u16),
    /// The device takes so many chains and gives them back, this many of them undone.
    Work(u8, u8),
    Publish,
    Listen(u16),
    Quieten,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let word = prop_oneof![
        3 => 0u32..20,
        2 => any::<u32>(),
        2 => (0u32..16, any::<u16>()).prop_map(|(a, b)| u32::from(b) | (a << 16)),
        2 => (POOL..SIZE).prop_map(|at| BASE as u32 + at),
    ];
    let step = prop_oneof![
        6 => (0u8..4, 0u32..0x200, word).prop_map(|(a, b, c)| Step::Write(a, b, c)),
        8 => (0u16..64, 0u32..SIZE + 32, prop_oneof![
                0u32..64,
                (0u32..8).prop_map(|count| 16 * count),
            ], any::<u16>()).prop_map(|(a, b, c, d)| Step::Fine(a, b, c, d)),
        5 => (1u8..8, 0u8..9).prop_map(|(a, b)| Step::Work(a, b)),
        3 => Just(Step::Publish),
        2 => (0u16..40).prop_map(Step::Listen),
        1 => Just(Step::Quieten),
    ];
    prop::collection::vec(step, 1..150)
}

struct Trial {
    bench: Bench,
    size: u16,
    features: Features,
    /// How many times a descriptor was made fine.
    fine: u32,
}

impl Trial {
    fn write(&self, area: u8, word: u32, value: u32) {
        let at = [DESC, DRIVER, DEVICE, SIZE - 0x800][usize::from(area)];
        self.bench.mem.write32(at + 4 * word, value);
    }

    fn fine(&mut self, at: u16, offset: u32, len: u32, any: u16) {
        let at = at % self.size;
        let mem = &self.bench.mem;
        let flags = any & 7;
        let desc = DESC + 16 * u32::from(at);
        mem.write32(desc, (BASE as u32).wrapping_add(offset));
        mem.write32(desc + 4, 0);
        mem.write32(desc + 8, len);
        if self.features.packed {
            let lap = if any & 8 == 0 { 1 << 7 } else { 1 << 15 };
            mem.write32(
                desc + 12,
                u32::from(any >> 4) | (u32::from(flags | lap) << 16),
            );
        } else {
            let next = (any >> 4) % self.size;
            mem.write32(desc + 12, u32::from(flags) | (u32::from(next) << 16));
            let slot = self.fine as u16 % self.size;
            mem.write16(DRIVER + 4 + 2 * u32::from(slot), at);
            self.fine += 1;
            mem.write16(DRIVER + 2, self.fine as u16);
        }
    }

    /// `Err`: the queue has failed.
    fn work(&mut self, count: u8, undone: u8) -> Result<(), Fault> {
        let Bench {
            mem, pool, queue, ..
        } = &mut self.bench;
        let mut given = 0;
        for _ in 0..count {
            let mut chain = Chain::new();
            if !queue.pop(mem, pool, &mut chain)? {
                break;
            }
            let buffers: Vec<(u32, u32)> = chain.buffers().collect();
            assert!(buffers.len() <= CHAIN_MAX.min(self.size.into()));
            for (offset, len) in buffers {
                assert!(
                    offset >= POOL && offset + len <= SIZE,
                    "{offset:#x}+{len:#x}"
                );
            }
            let len = chain.writable_len();
            queue.push(mem, &chain, len)?;
            given += 1;
        }
        for _ in 0..undone.min(given) {
            queue.undo();
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), Fault> {
        match step {
            Step::Write(area, word, value) => self.write(area, word, value),
            Step::Fine(at, offset, len, any) => self.fine(at, offset, len, any),
            step => {
                let before = self.bench.bytes();
                let result = self.device(step);
                self.compare(&before);
                result?;
            }
        }
        Ok(())
    }

    fn device(&mut self, step: Step) -> Result<(), Fault> {
        match step {
            Step::Work(count, undone) => return self.work(count, undone),
            Step::Publish => {
                self.bench.queue.publish(&self.bench.mem);
                self.bench.queue.wants_notification(&self.bench.mem);
            }
            Step::Listen(least) => {
                let Bench { mem, queue, .. } = &mut self.bench;
                queue.available(mem)?;
                queue.listen(mem, least.min(self.size))?;
            }
            _ => self.bench.queue.quieten(&self.bench.mem),
        }
        Ok(())
    }

    /// Only what is the device's was written.
    fn compare(&self, before: &[u8]) {
        let entries = u32::from(self.size);
        let ours = |at: u32| {
            if self.features.packed {
                (DESC..DESC + 16 * entries).contains(&at) || (DEVICE..DEVICE + 4).contains(&at)
            } else {
                (DEVICE..DEVICE + 6 + 8 * entries).contains(&at)
            }
        };
        for (at, (old, new)) in before.iter().zip(self.bench.bytes()).enumerate() {
            assert!(*old == new || ours(at as u32), "{at:#x} was written");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 2))]

    #[test]
    fn anything_goes(number in 0u8..16, size in 1u16..40, steps in steps()) {
        let features = Features {
            packed: number & 1 != 0,
            indirect: number & 2 != 0,
            in_order: number & 4 != 0,
            event_idx: number & 8 != 0,
        };
        let size = if features.packed { size } else { 1 << size.ilog2() };
        let bench = Bench::new(size, features);
        let mut trial = Trial { bench, size, features, fine: 0 };
        for step in steps {
            // What fails is taken out of use by the transport.
            if trial.step(step).is_err() {
                break;
            }
        }
    }
}
