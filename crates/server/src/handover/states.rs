//! The states of the program that are handed over beside the sessions.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// All states of the program.
#[derive(Default)]
pub(crate) struct States(Vec<State>);

struct State {
    name: &'static str,
    freeze: Box<dyn Fn() -> Bytes + Send + Sync>,
    restore: Box<dyn Fn(Bytes) + Send + Sync>,
}

impl States {
    pub(crate) fn register(
        &mut self,
        name: &'static str,
        freeze: impl Fn() -> Bytes + Send + Sync + 'static,
        restore: impl Fn(Bytes) + Send + Sync + 'static,
    ) {
        assert!(self.find(name).is_none(), "{name:?} is registered twice");
        self.0.push(State { name, freeze: Box::new(freeze), restore: Box::new(restore) });
    }

    /// Returns the states, or `None` if one of them panics.
    pub(super) fn freeze(&self) -> Option<Vec<(String, Bytes)>> {
        let freeze = |state: &State| Some((state.name.to_owned(), catch_panic(&state.freeze)?));
        self.0.iter().map(freeze).collect()
    }

    /// Passes each state on to the one of the same name, if there is one. If that panics, the state is lost.
    pub(super) fn restore(&self, frozen: Vec<(String, Bytes)>) {
        for (name, frozen) in frozen {
            if let Some(state) = self.find(&name) {
                let _ = catch_panic(|| (state.restore)(frozen));
            }
        }
    }

    fn find(&self, name: &str) -> Option<&State> {
        self.0.iter().find(|state| state.name == name)
    }
}

/// Returns the result of code of the program, or `None` if it panics. The panic hook has logged the panic.
pub(super) fn catch_panic<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|state| state.name)).finish()
    }
}

/// Excludes operations on the admin listener while the states of the program are handed over: what an
/// operation changed after that would be lost. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct OperationLock(Arc<RwLock<Owner>>);

/// Which process has the states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Owner {
    Successor,
    #[default]
    This,
}

impl OperationLock {
    /// Waits while a handover is being decided. The operation holds the guard, and is not performed if the
    /// successor has the states.
    pub(crate) async fn begin_operation(&self) -> OwnedRwLockReadGuard<Owner> {
        Arc::clone(&self.0).read_owned().await
    }

    /// Waits for operations that have begun, and delays others until the guard is dropped.
    pub(super) async fn exclude_operations(&self) -> OwnedRwLockWriteGuard<Owner> {
        Arc::clone(&self.0).write_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_restored_by_the_one_of_its_name_and_a_panic_loses_only_its_own() {
        let restored = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let mut states = States::default();
        for name in ["first", "second"] {
            let restored = Arc::clone(&restored);
            let restore = move |bytes: Bytes| {
                assert_ne!(bytes, "bad");
                restored.lock().push((name, bytes));
            };
            states.register(name, move || Bytes::from_static(name.as_bytes()), restore);
        }
        let frozen = ["first", "second"].map(|name| (name.to_owned(), Bytes::from(name)));
        assert_eq!(states.freeze(), Some(frozen.to_vec()));
        assert_eq!(format!("{states:?}"), r#"["first", "second"]"#);

        let arrived = [("second", "2"), ("unknown", "3"), ("first", "bad"), ("first", "1")];
        states.restore(arrived.map(|(name, bytes)| (name.to_owned(), bytes.into())).to_vec());
        assert_eq!(*restored.lock(), [("second", "2".into()), ("first", "1".into())]);

        states.register("broken", || panic!("it cannot be frozen"), |_| {});
        assert_eq!(states.freeze(), None);
    }

    #[test]
    #[should_panic(expected = "\"state\" is registered twice")]
    fn a_name_is_registered_once() {
        let mut states = States::default();
        for _ in 0..2 {
            states.register("state", Bytes::new, |_| {});
        }
    }
}
