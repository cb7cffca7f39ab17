//! The forecasts that are compared: what they are fitted to, with which settings, and what of them decides.

use crate::series::Of;

/// A forecast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Method {
    /// The name in results.
    pub(crate) name: &'static str,
    pub(crate) fit: Option<Fit>,
    pub(crate) decides: End,
    /// Whether the load of now speaks as well, with an upper end of half the tolerance, as it does in the scaler's forecast.
    pub(crate) with_present: bool,
}

/// What a model is fitted to, and how often. Methods with the same share their fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fit {
    pub(crate) of: Of,
    pub(crate) bin_minutes: u64,
    pub(crate) refit_minutes: u64,
    pub(crate) model: Model,
}

/// A model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// As a season ago; the interval is that of normal errors with the deviation of the differences to a season ago.
    SeasonalNaive,
    /// `MSTLModel` of daily seasons, and of weekly ones once there are two weeks.
    Mstl { on: Scale, trend: Trend },
}

/// What the load is taken as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// Its logarithm: seasons multiply.
    Logarithm,
}

/// The model of what is left without seasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trend {
    /// `AutoETS::non_seasonal`, by default: all models without seasons, over the whole series.
    AutoEts,
    /// The same over the last six hours.
    RecentAutoEts,
}

/// Which end of the forecast decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Point,
    /// The upper end of the interval of `predict.confidencePercent`.
    Upper,
}

const fn mstl(of: Of, bin_minutes: u64, refit_minutes: u64, on: Scale, trend: Trend) -> Option<Fit> {
    Some(Fit {
        of,
        bin_minutes,
        refit_minutes,
        model: Model::Mstl { on, trend },
    })
}

const fn naive(refit_minutes: u64) -> Option<Fit> {
    Some(Fit {
        of: Of::Maxima,
        bin_minutes: 1,
        refit_minutes,
        model: Model::SeasonalNaive,
    })
}

const fn method(name: &'static str, fit: Option<Fit>, decides: End, with_present: bool) -> Method {
    Method {
        name,
        fit,
        decides,
        with_present,
    }
}

const MEANS: Option<Fit> = mstl(Of::Means, 1, 30, Scale::Linear, Trend::AutoEts);
const MAXIMA: Option<Fit> = mstl(Of::Maxima, 1, 10, Scale::Linear, Trend::RecentAutoEts);
const LOGARITHMS: Option<Fit> = mstl(Of::Maxima, 1, 10, Scale::Logarithm, Trend::RecentAutoEts);
const FIVE_MINUTES: Option<Fit> = mstl(Of::Maxima, 5, 15, Scale::Linear, Trend::AutoEts);

/// All of them.
pub(crate) const METHODS: &[Method] = &[
    method("as now", None, End::Upper, true),
    method("seasonal naive, point", naive(10), End::Point, false),
    method("seasonal naive, upper", naive(10), End::Upper, false),
    method("seasonal naive, point, as now", naive(10), End::Point, true),
    method("means, point", MEANS, End::Point, false),
    method("means, upper", MEANS, End::Upper, false),
    method("means, upper, as now", MEANS, End::Upper, true),
    method("maxima, point", MAXIMA, End::Point, false),
    method("maxima, upper", MAXIMA, End::Upper, false),
    method("maxima, point, as now", MAXIMA, End::Point, true),
    method("logarithms, point, as now", LOGARITHMS, End::Point, true),
    method("logarithms, upper, as now", LOGARITHMS, End::Upper, true),
    method("five minutes, point, as now", FIVE_MINUTES, End::Point, true),
    method("five minutes, upper, as now", FIVE_MINUTES, End::Upper, true),
];
