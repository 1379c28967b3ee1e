//! Divides parcels into posts.

use std::iter::Peekable;
use std::ops::Deref;
use std::vec;

use crate::engine::{Limits, Parcel};
use crate::model::{Ids, Operation};

/// Divides parcels into posts, in order, with as many in each as fit. No id is in a post twice, since a sink need not
/// say in which order it applies the contents of a post.
pub(crate) struct Posts<P> {
    parcels: Peekable<vec::IntoIter<P>>,
    limits: Limits,
    ids: Ids,
}

impl<P: Deref<Target: Parcel>> Posts<P> {
    /// Posts within these limits; a larger parcel goes alone.
    pub(crate) fn new(limits: Limits, parcels: Vec<P>) -> Self {
        Self { parcels: parcels.into_iter().peekable(), limits, ids: Ids::default() }
    }
}

impl<P: Deref<Target: Parcel>> Iterator for Posts<P> {
    type Item = Vec<P>;

    fn next(&mut self) -> Option<Vec<P>> {
        let first = self.parcels.next()?;
        let Limits { parcels: upserts, deletes, bytes, .. } = self.limits;
        let operation = first.change().operation;
        let most = match operation {
            Operation::Upsert => upserts.get(),
            Operation::Delete => deletes.get(),
        };
        if most == 1 {
            return Some(vec![first]);
        }
        let mut size = first.size();
        self.ids.clear();
        self.ids.insert(first.change().id.clone());
        let mut post = Vec::with_capacity(most.min(self.parcels.len() + 1));
        post.push(first);
        while post.len() < most {
            let fits = |parcel: &P| {
                let change = parcel.change();
                size + parcel.size() <= bytes
                    && (upserts == deletes || change.operation == operation)
                    && self.ids.insert(change.id.clone())
            };
            let Some(parcel) = self.parcels.next_if(fits) else { break };
            size += parcel.size();
            post.push(parcel);
        }
        Some(post)
    }
}
