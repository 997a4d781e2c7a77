//! Charts as SVG, as far as the report needs them: bars side by side, and lines.

use std::fmt::Write;

use super::report::figure;

/// How something of one peer is drawn.
#[derive(Clone, Copy)]
pub struct Look {
    pub name: &'static str,
    pub colour: &'static str,
}

/// The same peers under each other in every panel.
pub struct Bars {
    pub title: &'static str,
    pub looks: Vec<Look>,
    pub panels: Vec<Panel>,
}

pub struct Panel {
    pub title: &'static str,
    /// What its figures are, with their unit.
    pub measure: String,
    /// One for each look, if it is known.
    pub values: Vec<Option<f64>>,
    /// What the longest bar stands for; a longer one is cut.
    pub longest: f64,
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
        let height = TOP + ROW * self.looks.len() as f64 + 16.0;
        let mut svg = begin(self.title, width, height);
        for (row, look) in self.looks.iter().enumerate() {
            let y = TOP + ROW * row as f64 + 15.0;
            text(&mut svg, (NAMES - 12.0, y), "end", 13, INK, look.name);
        }
        for (column, panel) in self.panels.iter().enumerate() {
            let x = NAMES + PANEL * column as f64;
            text(&mut svg, (x, 60.0), "start", 13, INK, panel.title);
            text(&mut svg, (x, 77.0), "start", 11, FAINT, &panel.measure);
            for (row, (look, value)) in self.looks.iter().zip(&panel.values).enumerate() {
                let y = TOP + ROW * row as f64;
                let Some(value) = value else {
                    text(&mut svg, (x + 4.0, y + 15.0), "start", 12, FAINT, "-");
                    continue;
                };
                let length = (value / panel.longest).clamp(0.004, 1.0) * BAR;
                rectangle(&mut svg, (x, y + 3.0), (length, ROW - 6.0), look.colour);
                if *value > panel.longest {
                    // A gap says that it goes on.
                    rectangle(&mut svg, (x + BAR - 14.0, y), (4.0, ROW), "#ffffff");
                }
                let place = (x + length + 5.0, y + 16.0);
                text(&mut svg, place, "start", 12, INK, &figure(*value));
            }
        }
        svg + "</svg>\n"
    }
}

pub struct Lines {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<(Look, Vec<(f64, f64)>)>,
}

pub struct Axis {
    pub title: &'static str,
    pub is_logarithmic: bool,
    pub from: f64,
    pub to: f64,
}

impl Axis {
    /// Where a value is, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_logarithmic { value.log2() } else { value };
        (scale(value) - scale(self.from)) / (scale(self.to) - scale(self.from))
    }

    /// Round values, neither many nor few of them.
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
        let x = |value: f64| LEFT + self.x.place(value) * WIDTH;
        let y = |value: f64| TOP + (1.0 - self.y.place(value)) * HEIGHT;
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

        // Names stand at the ends, and move down where they would cover each other.
        let mut ends: Vec<(f64, f64, Look)> = Vec::new();
        for (look, points) in &self.lines {
            let path: Vec<String> = points
                .iter()
                .map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)))
                .collect();
            let (path, colour) = (path.join(" "), look.colour);
            let _ = writeln!(
                svg,
                r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>"#
            );
            ends.extend(points.last().map(|(at, value)| (y(*value), x(*at), *look)));
        }
        ends.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
        let mut free = f64::MIN;
        for (end, _, look) in ends {
            free = end.max(free);
            let place = (LEFT + WIDTH + 10.0, free + 4.0);
            text(&mut svg, place, "start", 13, look.colour, look.name);
            free += 17.0;
        }
        svg + "</svg>\n"
    }
}

/// A tick of an axis, which is round.
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
