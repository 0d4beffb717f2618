//! Faults: what a round does to the world, one or two at a time, and how each ends.
//!
//! **In** dice. **Out** a [`Round`]. **Invariant:** every fault is over when its round is.

use std::time::Duration;

use crate::{
    dice::Dice,
    world::{ENGINES, NAMED, SESSION, Shape, World},
};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` of an engine, then it starts again.
    Kill(usize),
    /// `kill -9` of all of them at once.
    KillAll,
    /// SIGSTOP past the session time-out, then SIGCONT, while records come.
    Freeze(usize),
    /// The same, and no record comes meanwhile.
    FreezeInSilence(usize),
    /// SIGSTOP for less than the session time-out: nobody takes over.
    Hiccup(usize),
    /// SIGTERM: it drains, then starts again.
    Drain(usize),
    /// Somebody joins the group under the name of its worker, as its former self does when the broker forgot the new one.
    Steal(usize),
    /// There is one more source: a partition, or a topic.
    Grow,
    /// SIGKILL of the broker.
    KillBroker,
    /// SIGTERM of the broker.
    StopBroker,
}

/// How long the faults of a round last.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) faults: Vec<Fault>,
    pub(crate) lasts: Duration,
}

impl Fault {
    /// Kinds that happen in a world of this shape.
    fn kinds(shape: Shape) -> u64 {
        match shape {
            Shape::Local => 9,
            Shape::Two | Shape::Several => 10,
        }
    }

    fn of(kind: u64, engine: usize) -> Self {
        match kind {
            0 => Fault::Kill(engine),
            1 => Fault::Freeze(engine),
            2 => Fault::KillBroker,
            3 => Fault::Drain(engine),
            4 => Fault::FreezeInSilence(engine),
            5 => Fault::StopBroker,
            6 => Fault::KillAll,
            // Only those with a name can lose it.
            7 => Fault::Steal(engine % NAMED),
            8 => Fault::Hiccup(engine),
            // Views that are local for their keys cannot follow.
            _ => Fault::Grow,
        }
    }

    /// The engine that is hurt; `None` when it is all of them or none.
    fn engine(self) -> Option<usize> {
        match self {
            Fault::Kill(e) | Fault::Freeze(e) | Fault::FreezeInSilence(e) | Fault::Hiccup(e) => Some(e),
            Fault::Drain(e) | Fault::Steal(e) => Some(e),
            Fault::KillAll | Fault::Grow | Fault::KillBroker | Fault::StopBroker => None,
        }
    }

    fn is_of_broker(self) -> bool {
        matches!(self, Fault::KillBroker | Fault::StopBroker)
    }

    /// Tells whether both may happen at the same time: different victims, and who needs a broker has one.
    fn goes_with(self, other: Self) -> bool {
        let (all, asks) =
            (Fault::KillAll, |fault| matches!(fault, Fault::Drain(_) | Fault::Steal(_) | Fault::Grow));
        match (self.engine(), other.engine()) {
            (Some(one), Some(two)) => one != two,
            _ if self == all || other == all => self.is_of_broker() || other.is_of_broker(),
            _ if self.is_of_broker() && other.is_of_broker() => false,
            _ if self.is_of_broker() || other.is_of_broker() => !asks(self) && !asks(other),
            _ => true,
        }
    }

    fn least(self) -> Duration {
        match self {
            Fault::Freeze(_) | Fault::FreezeInSilence(_) => SESSION + Duration::from_millis(800),
            _ => Duration::ZERO,
        }
    }

    fn begin(self, world: &mut World) {
        match self {
            Fault::Kill(engine) => world.engine(engine).kill(),
            Fault::KillAll => (0..ENGINES).for_each(|engine| world.engine(engine).kill()),
            Fault::Freeze(engine) | Fault::Hiccup(engine) => world.engine(engine).signal(libc::SIGSTOP),
            Fault::FreezeInSilence(engine) => {
                world.feed.pause(true);
                world.engine(engine).signal(libc::SIGSTOP);
            }
            Fault::Drain(engine) => world.engine(engine).terminate(),
            Fault::Steal(engine) => world.steal(engine),
            Fault::Grow => world.grow(),
            Fault::KillBroker => world.broker.kill(),
            Fault::StopBroker => world.broker.terminate(),
        }
    }

    fn end(self, world: &mut World) {
        match self {
            Fault::Kill(engine) => world.start_engine(engine),
            Fault::KillAll => (0..ENGINES).for_each(|engine| world.start_engine(engine)),
            Fault::Freeze(engine) | Fault::Hiccup(engine) => world.engine(engine).signal(libc::SIGCONT),
            Fault::FreezeInSilence(engine) => {
                world.engine(engine).signal(libc::SIGCONT);
                world.feed.pause(false);
            }
            Fault::Drain(engine) => {
                let status = world.engine(engine).wait();
                if !status.success() {
                    world.fail(&format!("engine {engine} did not drain: {status}"));
                }
                world.start_engine(engine);
            }
            Fault::Steal(_) | Fault::Grow => {}
            Fault::KillBroker | Fault::StopBroker => world.broker.launch(),
        }
    }
}

impl Round {
    /// The first rounds show each kind once, each later one is thrown; one in three has a second fault on top.
    pub(crate) fn throw(number: u64, shape: Shape, dice: &mut Dice) -> Self {
        let mut engine = || usize::try_from(dice.below(ENGINES as u64)).unwrap();
        let (one, two) = (engine(), engine());
        let kinds = Fault::kinds(shape);
        let kind = if number < kinds { number } else { dice.below(kinds) };
        let mut faults = vec![Fault::of(kind, one)];
        let more = Fault::of(dice.below(kinds), two);
        if dice.percent(33) && faults[0].goes_with(more) {
            faults.push(more);
        }
        let least = faults.iter().map(|fault| fault.least()).max().unwrap_or_default();
        Self { faults, lasts: least + Duration::from_millis(dice.below(1200)) }
    }

    /// Lets the faults happen and pass.
    pub(crate) fn run(&self, world: &mut World) {
        self.faults.iter().for_each(|fault| fault.begin(world));
        // Not a wait for anything: this is how long the fault lasts.
        std::thread::sleep(self.lasts);
        self.faults.iter().for_each(|fault| fault.end(world));
    }
}
