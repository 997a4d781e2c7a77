//! Removal from a map whose keys may come from peers.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A map with room for fewer entries is not made smaller.
const MIN_CAPACITY: usize = 64;

/// Removes an entry, and frees memory of the map when most of it is unused: otherwise it would keep the
/// memory that it needed when it was largest. The entry is returned, to be dropped without a lock.
pub(crate) fn remove<K, T, Q>(map: &mut HashMap<K, T>, key: &Q) -> Option<(K, T)>
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    let removed = map.remove_entry(key);
    // A quarter used shrinks to half used, so a map that grows and shrinks is seldom moved.
    if map.capacity() > MIN_CAPACITY && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
    removed
}
