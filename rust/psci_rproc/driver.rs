// SPDX-License-Identifier: GPL-2.0

//! The platform driver: reads the device tree, and registers the remote processor.

use kernel::{
    device::{
        property::FwNode,
        Bound,
        Core as CoreContext,
        Device, //
    },
    of,
    platform,
    prelude::*,
    str::CString, //
};

use super::{
    cpu::Core,
    firmware::{
        Doorbell,
        Firmware, //
    },
};
use crate::{
    remoteproc::{
        mem::{
            Memory,
            Reserved, //
        },
        Registration,
        UnregisteredRproc, //
    },
    series, //
};

const STOP_TIMEOUT_MS: u32 = 1000;
const STOP_TIMEOUT_LIMITS: core::ops::RangeInclusive<u32> = 10..=60_000;

/// The platform driver.
pub struct Driver;

/// A bound device.
pub struct Data {
    _registration: Registration<Firmware>,
}

series::of_device_table!(
    OF_TABLE,
    <Driver as platform::Driver>::IdInfo,
    [(of::DeviceId::new(c"virtio-hvl,psci-rproc"), ())]
);

impl platform::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Data;
    const OF_ID_TABLE: Option<of::IdTable<Self::IdInfo>> = Some(&OF_TABLE);

    fn probe<'bound>(
        pdev: &'bound platform::Device<CoreContext<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        let pdev: &platform::Device<Bound> = pdev;
        let dev: &Device<Bound> = pdev.as_ref();
        let node = dev.fwnode().ok_or(ENODEV)?;

        let core = Core::of(dev)?;
        let memory = memory(dev)?;
        let doorbell = doorbell(pdev, node)?;
        let stop_timeout_ms = stop_timeout_ms(dev, node)?;
        let table = table(dev, node, &memory)?;
        let firmware = firmware_name(dev, node)?;
        let name = CString::try_from_fmt(fmt!("psci-cpu{}", core.cpu()))?;

        let rproc = UnregisteredRproc::new(
            dev,
            &name,
            firmware.as_deref(),
            Firmware::new(core, memory, doorbell, stop_timeout_ms, table),
        )?;
        let rproc = if rproc.data().is_running(dev) {
            rproc.found_running()
        } else {
            rproc
        };

        Ok(Data {
            _registration: rproc.register()?,
        })
    }
}

fn memory(dev: &Device<Bound>) -> Result<Memory> {
    let reserved = Reserved::of(dev, 0).map_err(|e| {
        let why = match e {
            ENODEV => "missing or disabled: it has to name the memory that the firmware runs in",
            EINVAL => "does not name a child of /reserved-memory that could be reserved",
            _ => "its size is impossible",
        };

        dev_err!(dev, "memory-region: {why}\n");
        EINVAL
    })?;

    if !reserved.no_map() {
        dev_err!(
            dev,
            "memory-region: {reserved} has no no-map property: Linux maps it with caching, the firmware without\n"
        );
        return Err(EINVAL);
    }
    reserved.map(dev).inspect_err(|e| {
        let why = match *e {
            EBUSY => "is in use by another device, at least in part",
            _ => "cannot be mapped",
        };

        dev_err!(dev, "memory-region: {reserved} {why}\n");
    })
}

/// The address of the resource table of a firmware that a boot loader starts.
fn table(dev: &Device<Bound>, node: &FwNode, memory: &Memory) -> Result<Option<u64>> {
    let name = c"virtio-hvl,resource-table-offset";

    if !node.property_present(name) {
        return Ok(None);
    }
    let range = memory.range();
    match node.property_read::<u32>(name).optional() {
        Some(offset) if offset % 4 == 0 && u64::from(offset) < range.end - range.start => {
            Ok(Some(range.start + u64::from(offset)))
        }
        Some(offset) => {
            dev_err!(
                dev,
                "{name}: {offset:#x} is not a multiple of 4 within the {:#x} bytes of the memory-region\n",
                range.end - range.start
            );
            Err(ERANGE)
        }
        None => {
            dev_err!(dev, "{name}: not one 32-bit value\n");
            Err(EINVAL)
        }
    }
}

fn firmware_name(dev: &Device<Bound>, node: &FwNode) -> Result<Option<CString>> {
    let name = c"firmware-name";

    if !node.property_present(name) {
        return Ok(None);
    }
    node.property_read::<CString>(name)
        .optional()
        .map(Some)
        .ok_or_else(|| {
            dev_err!(dev, "{name}: not a string\n");
            EINVAL
        })
}

fn doorbell(pdev: &platform::Device<Bound>, node: &FwNode) -> Result<Option<Doorbell>> {
    let dev: &Device<Bound> = pdev.as_ref();
    let name = c"virtio-hvl,doorbell-value";
    let Some(request) = pdev.io_request_by_name(c"doorbell") else {
        if node.property_present(c"reg") || node.property_present(name) {
            dev_err!(
                dev,
                "reg-names: a doorbell needs a reg that it calls \"doorbell\"\n"
            );
            return Err(EINVAL);
        }
        return Ok(None);
    };
    let Some(value) = node.property_read::<u32>(name).optional() else {
        dev_err!(
            dev,
            "{name}: missing: a doorbell needs the value to write to it\n"
        );
        return Err(EINVAL);
    };

    if let Some(resource) = pdev.resource_by_name(c"doorbell") {
        let (start, size) = (resource.start(), resource.size());

        if start % 4 != 0 || size < 4 {
            dev_err!(
                dev,
                "reg: the doorbell has {size} bytes at {start:#x}: it needs 4 at a multiple of 4\n"
            );
            return Err(EINVAL);
        }
    }
    Ok(Some(Doorbell {
        register: request.iomap_sized::<4>()?.into_devres()?,
        value,
    }))
}

fn stop_timeout_ms(dev: &Device<Bound>, node: &FwNode) -> Result<u32> {
    let name = c"virtio-hvl,stop-timeout-ms";

    if !node.property_present(name) {
        return Ok(STOP_TIMEOUT_MS);
    }
    match node.property_read::<u32>(name).optional() {
        Some(value) if STOP_TIMEOUT_LIMITS.contains(&value) => Ok(value),
        Some(value) => {
            dev_err!(
                dev,
                "{name}: {value} is not between {} and {}\n",
                STOP_TIMEOUT_LIMITS.start(),
                STOP_TIMEOUT_LIMITS.end()
            );
            Err(EINVAL)
        }
        None => {
            dev_err!(dev, "{name}: not one 32-bit value\n");
            Err(EINVAL)
        }
    }
}
