// SPDX-License-Identifier: GPL-2.0

//! The platform driver: binds to a link's node.

use crate::{
    series,
    sys::{
        series::{
            Handler,
            Registration, //
        },
        thread::Thread, //
    },
    virtio_hvl::{
        debugfs,
        dt::Node,
        interrupts::Messages,
        link::{
            Life,
            Link,
            Poller, //
        },
        shmem::Region,
        wire::Parts, //
    }, //
};
use kernel::{
    device::Core,
    irq::{
        Flags,
        IrqRequest,
        IrqReturn, //
    },
    of,
    platform,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

series::of_device_table!(
    OF_TABLE,
    <Driver as platform::Driver>::IdInfo,
    [(of::DeviceId::new(c"virtio-hvl,link"), ())]
);

/// The driver.
pub(crate) struct Driver;

/// Passes the link's interrupt on.
struct Interrupt(Arc<Link>);

impl Handler for Interrupt {
    fn handle(&self) -> IrqReturn {
        // A ring that merged with the one before finds nothing. If there is nothing but such, the
        // kernel turns the line off; the link's thread still looks.
        if self.0.interrupt() {
            IrqReturn::Handled
        } else {
            IrqReturn::None
        }
    }
}

/// A bound link. Field order is drop order: the files go first, since reading one may need an
/// answer of the peer; then the thread, which removes the devices and needs interrupts for it; the
/// interrupt, or what looks in its place; what gives interrupts to devices last.
#[pin_data]
pub(crate) struct Bound<'bound> {
    _files: debugfs::Files,
    _thread: Thread<Life>,
    _poller: Option<Thread<Poller>>,
    _interrupt: Option<Pin<KBox<Registration<'bound, Interrupt>>>>,
    _messages: Option<Messages>,
}

impl platform::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Bound<'bound>;
    const OF_ID_TABLE: Option<of::IdTable<Self::IdInfo>> = Some(&OF_TABLE);

    fn probe<'bound>(
        pdev: &'bound platform::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let dev = pdev.as_ref();
            let node = Node::parse(pdev)?;
            let (start, size) = (node.extent.start, node.extent.size);
            let region = Region::map(node.extent, node.coherent).inspect_err(|&error| {
                let why = if error == EBUSY {
                    "it overlaps memory that another device uses"
                } else {
                    "it cannot be mapped"
                };
                dev_err!(
                    dev,
                    "memory-region at {start:#x}, size {size:#x}, cannot be used: {why}\n"
                );
            })?;
            let link = Link::new(Parts {
                dev: ARef::from(dev),
                region,
                doorbell: node.doorbell,
                timeout_ms: node.timeout_ms,
                watchdog_ms: node.watchdog_ms,
                trusted: node.trusted,
                poll: node.poll,
                settings: node.settings,
                interrupts: node.interrupts.others,
                dma: node.dma,
            })?;
            let (doorbell, messages) = (node.interrupts.doorbell, node.interrupts.messages);
            Ok(bind(link, doorbell, messages))
        })
    }
}

fn bind<'bound>(
    link: Arc<Link>,
    request: Option<IrqRequest<'bound>>,
    messages: Option<Messages>,
) -> impl PinInit<Bound<'bound>, Error> + 'bound {
    try_pin_init!(Bound {
        _messages: messages,
        _interrupt: request.map(|request| listen(&link, request)).transpose()?,
        _poller: poller(&link)?,
        _files: debugfs::Files::new(&link)?,
        // Last, when all that it needs is there.
        _thread: Thread::spawn(c"virtio-hvl", Arc::new(Life(link), GFP_KERNEL)?)?,
    }? Error)
}

/// Takes the peer's interrupt from now on.
fn listen<'bound>(
    link: &Arc<Link>,
    request: IrqRequest<'bound>,
) -> Result<Pin<KBox<Registration<'bound, Interrupt>>>> {
    let handler = Ok::<_, Error>(Interrupt(link.clone()));
    KBox::pin_init(
        // SAFETY: The registration is part of the driver's data, which the driver core drops.
        unsafe { Registration::new(request, Flags::TRIGGER_NONE, c"virtio-hvl", handler) },
        GFP_KERNEL,
    )
    .inspect_err(|error| {
        dev_err!(
            link.wire().dev(),
            "interrupts cannot be requested ({error:?}): must be an edge-triggered interrupt that \
             nobody else uses\n"
        );
    })
    // What was rung for an earlier life of the driver comes now. Where handlers are threads it would run when
    // this one is through, and be taken for the answer to the link test.
    .inspect(|registration| registration.synchronize())
}

/// What looks in the interrupt's place, where there is none.
fn poller(link: &Arc<Link>) -> Result<Option<Thread<Poller>>> {
    let Some(bounds) = link.wire().poll() else {
        return Ok(None);
    };
    let poller = Arc::new(Poller::new(link.clone(), bounds), GFP_KERNEL)?;
    Ok(Some(Thread::spawn(c"virtio-hvl-poll", poller)?))
}
