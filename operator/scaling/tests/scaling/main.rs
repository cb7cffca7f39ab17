//! The scaler from outside: what it decides, when, and what that is worth. One program, for several would be linked anew
//! after every change.

mod decisions;
mod foreseen;
mod goals;
mod golden;
mod gone;
mod pool;
mod properties;
mod restart;
mod schedule;
