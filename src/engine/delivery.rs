//! Types only; the rest comes.
use tokio::sync::oneshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wave {
    Roots,
    Containers,
    Leaves,
    ContainerDeletes,
}

pub(crate) enum Order<P> {
    Post { wave: Wave, parcels: Vec<P> },
    Settle(oneshot::Sender<()>),
}

pub(crate) enum Delivered<E> {
    Accepted,
    Rejected(E),
    Failed(E),
}
