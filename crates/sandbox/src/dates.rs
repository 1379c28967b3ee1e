//! The `Date` header of answers. By default, Resource Manager and both Graphs show the sandbox's time, and the others
//! the machine's; tests can change that. Records and `now()` always use the sandbox's.
use std::sync::Mutex;

use crate::clock::Clock;
use crate::lock;
use crate::requests::{ROUTES, Route};

/// How a route's header differs from the true time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Date {
    #[default]
    True,
    /// Ahead by this many milliseconds, or behind if negative.
    Off(i64),
    /// Off by each of these in turn, cyclically.
    Jumping(Vec<i64>),
    /// No header.
    Absent,
}

#[derive(Default)]
pub struct Dates(Mutex<[(Date, usize); ROUTES]>);

impl Dates {
    /// Sets the header for a route's answers. Unknown routes of Resource Manager use the listing's.
    pub fn set(&self, route: Route, date: Date) {
        lock(&self.0)[route as usize] = (date, 0);
    }

    /// Sets the header for all routes.
    pub fn set_all(&self, date: &Date) {
        for route in Route::every() {
            self.set(route, date.clone());
        }
    }

    /// The header of a route's next answer.
    pub(crate) fn next(&self, route: Route, clock: &Clock) -> Option<String> {
        let (date, answers) = &mut lock(&self.0)[route as usize];
        *answers += 1;
        let off = match date {
            Date::True => 0,
            Date::Off(by) => *by,
            Date::Jumping(each) => each.get((*answers - 1) % each.len().max(1)).copied().unwrap_or(0),
            Date::Absent => return None,
        };
        Some(Clock::at(clock.now_ms() + off).http_date())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_true_off_absent_or_jumps() {
        let (dates, clock) = (Dates::default(), Clock::at(1_700_000_000_000));
        let minute = |date: Option<String>| date.map(|date| date[17..22].to_owned());
        let next = |dates: &Dates| minute(dates.next(Route::Graph, &clock));
        assert_eq!(next(&dates).as_deref(), Some("22:13"));
        dates.set(Route::Graph, Date::Off(-3_600_000));
        assert_eq!(next(&dates).as_deref(), Some("21:13"));
        assert_eq!(minute(dates.next(Route::Token, &clock)).as_deref(), Some("22:13"));
        dates.set(Route::Graph, Date::Jumping(vec![0, 600_000]));
        let jumps: Vec<_> = (0..3).filter_map(|_| next(&dates)).collect();
        assert_eq!(jumps, ["22:13", "22:23", "22:13"]);
        dates.set_all(&Date::Absent);
        assert_eq!(next(&dates), None);
    }
}
