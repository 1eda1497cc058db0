// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A firmware file.

use crate::input::Input;
use hvl_logic::elf::Image;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let start = u64::from(input.word()) << (input.byte() % 33);
    let memory = start..start.saturating_add(u64::from(input.word()));
    match Image::parse(input.rest(), memory.clone()) {
        Ok(image) => {
            for segment in image.segments() {
                assert!(segment.address >= memory.start);
                assert!(segment.address + segment.size <= memory.end);
                assert!(segment.data.len() as u64 <= segment.size);
            }
        }
        Err(error) => drop(error.to_string()),
    }
}
