//! The SVG charts of the report: bar charts and line charts.

use std::fmt::Write;

use super::report::figure;

/// The name and the colour of a peer in the charts.
#[derive(Clone, Copy)]
pub struct Style {
    pub name: &'static str,
    pub colour: &'static str,
}

/// A bar chart: one panel for each measure, one bar for each peer.
pub struct Bars {
    pub title: &'static str,
    pub styles: Vec<Style>,
    pub panels: Vec<Panel>,
}

pub struct Panel {
    pub title: &'static str,
    /// The name and the unit of the measure.
    pub measure: String,
    /// One value for each style, or `None` if it was not measured.
    pub values: Vec<Option<f64>>,
    /// The value of a bar of full length; a longer bar is truncated.
    pub full_scale: f64,
}

const INK: &str = "#1f2937";
const FAINT: &str = "#6b7280";
const GRID: &str = "#e5e7eb";

impl Bars {
    #[must_use]
    pub fn draw(&self) -> String {
        const NAMES: f64 = 150.0;
        const PANEL: f64 = 206.0;
        const BAR: f64 = 136.0;
        const ROW: f64 = 24.0;
        const TOP: f64 = 92.0;
        let width = NAMES + PANEL * self.panels.len() as f64;
        let height = TOP + ROW * self.styles.len() as f64 + 16.0;
        let mut svg = begin(self.title, width, height);
        for (row, style) in self.styles.iter().enumerate() {
            let y = TOP + ROW * row as f64 + 15.0;
            text(&mut svg, (NAMES - 12.0, y), "end", 13, INK, style.name);
        }
        for (column, panel) in self.panels.iter().enumerate() {
            let x = NAMES + PANEL * column as f64;
            text(&mut svg, (x, 60.0), "start", 13, INK, panel.title);
            text(&mut svg, (x, 77.0), "start", 11, FAINT, &panel.measure);
            for (row, (style, value)) in self.styles.iter().zip(&panel.values).enumerate() {
                let y = TOP + ROW * row as f64;
                let Some(value) = value else {
                    text(&mut svg, (x + 4.0, y + 15.0), "start", 12, FAINT, "-");
                    continue;
                };
                let length = (value / panel.full_scale).clamp(0.004, 1.0) * BAR;
                rectangle(&mut svg, (x, y + 3.0), (length, ROW - 6.0), style.colour);
                if *value > panel.full_scale {
                    // A gap marks a truncated bar.
                    rectangle(&mut svg, (x + BAR - 14.0, y), (4.0, ROW), "#ffffff");
                }
                let position = (x + length + 5.0, y + 16.0);
                text(&mut svg, position, "start", 12, INK, &figure(*value));
            }
        }
        svg + "</svg>\n"
    }
}

/// A line chart: one line for each peer, named at its end.
pub struct Lines {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    /// The points of each line, as (x, y), in the order in which they are connected.
    pub lines: Vec<(Style, Vec<(f64, f64)>)>,
}

/// The horizontal or the vertical axis of a line chart, from the value `from` to the value `to`.
pub struct Axis {
    /// The name and the unit of the values.
    pub title: &'static str,
    /// A logarithmic axis starts above 0, and has its ticks at `from` and each doubling.
    pub is_logarithmic: bool,
    pub from: f64,
    pub to: f64,
}

impl Axis {
    /// The position of a value on the axis, from 0 to 1.
    fn position(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_logarithmic { value.log2() } else { value };
        (scale(value) - scale(self.from)) / (scale(self.to) - scale(self.from))
    }

    /// The positions of about six ticks, at round values.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / 6.0;
        let ten = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|by| by * ten).into_iter().find(|it| *it >= rough);
        let step = step.unwrap_or(rough);
        let next = |tick: &f64| if self.is_logarithmic { tick * 2.0 } else { tick + step };
        let all = std::iter::successors(Some(self.from), |tick| Some(next(tick)));
        all.take_while(|tick| *tick <= self.to * 1.0001).collect()
    }
}

impl Lines {
    #[must_use]
    pub fn draw(&self) -> String {
        const LEFT: f64 = 72.0;
        const TOP: f64 = 80.0;
        const WIDTH: f64 = 640.0;
        const HEIGHT: f64 = 360.0;
        let mut svg = begin(self.title, LEFT + WIDTH + 170.0, TOP + HEIGHT + 60.0);
        let x = |value: f64| LEFT + self.x.position(value) * WIDTH;
        let y = |value: f64| TOP + (1.0 - self.y.position(value)) * HEIGHT;
        for tick in self.y.ticks() {
            rectangle(&mut svg, (LEFT, y(tick)), (WIDTH, 1.0), GRID);
            text(&mut svg, (LEFT - 8.0, y(tick) + 4.0), "end", 12, FAINT, &short(tick));
        }
        for tick in self.x.ticks() {
            rectangle(&mut svg, (x(tick), TOP + HEIGHT), (1.0, 5.0), FAINT);
            text(&mut svg, (x(tick), TOP + HEIGHT + 20.0), "middle", 12, FAINT, &short(tick));
        }
        let below = TOP + HEIGHT + 44.0;
        text(&mut svg, (LEFT + WIDTH / 2.0, below), "middle", 13, INK, self.x.title);
        text(&mut svg, (16.0, TOP - 20.0), "start", 13, INK, self.y.title);

        // Each name stands at the end of its line, moved down where it would overlap another.
        let mut ends: Vec<(f64, f64, Style)> = Vec::new();
        for (style, points) in &self.lines {
            let path: Vec<String> = points
                .iter()
                .map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)))
                .collect();
            let (path, colour) = (path.join(" "), style.colour);
            let _ = writeln!(
                svg,
                r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>"#
            );
            ends.extend(points.last().map(|(at, value)| (y(*value), x(*at), *style)));
        }
        ends.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
        let mut free = f64::MIN;
        for (end, _, style) in ends {
            free = end.max(free);
            let position = (LEFT + WIDTH + 10.0, free + 4.0);
            text(&mut svg, position, "start", 13, style.colour, style.name);
            free += 17.0;
        }
        svg + "</svg>\n"
    }
}

/// Formats a tick, without trailing zeros.
fn short(tick: f64) -> String {
    let text = figure(tick);
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

fn begin(title: &str, width: f64, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" \
         font-family=\"system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif\">\n"
    );
    rectangle(&mut svg, (0.0, 0.0), (width, height), "#ffffff");
    text(&mut svg, (16.0, 28.0), "start", 16, INK, title);
    svg
}

fn rectangle(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, size: u8, colour: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" \
         fill=\"{colour}\">{text}</text>"
    );
}
