//! The figures as a picture: what bits of a weight buy.

use super::table::Row;
use anyhow::Result;
use plotters::prelude::*;

const SIZE: (u32, u32) = (800, 480);
const COLORS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(214, 39, 40), RGBColor(44, 160, 44), RGBColor(148, 103, 189)];

/// Returns a plot of the change of perplexity over the bits of a weight, a line for each model.
///
/// # Errors
/// When it cannot be drawn.
pub(super) fn svg(rows: &[Row]) -> Result<String> {
    let quantized = || rows.iter().filter(|row| row.format != "F16");
    let percent = |row: &Row| (row.change * 100.0, row.change_error * 100.0);
    let top = quantized().map(percent).map(|(y, e)| y + e).fold(1.0, f64::max) * 1.1;
    let bottom = quantized().map(percent).map(|(y, e)| y - e).fold(0.0, f64::min) * 1.1;
    let left = quantized().map(|row| row.bits_per_weight).fold(4.0, f64::min) - 0.2;
    let right = quantized().map(|row| row.bits_per_weight).fold(8.5, f64::max) + 0.5;
    let mut models: Vec<&str> = rows.iter().map(|row| row.model.as_str()).collect();
    models.dedup();
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Change of perplexity from F16", ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(left..right, bottom..top)?;
        chart
            .configure_mesh()
            .x_desc("bits a weight")
            .y_desc("change, %")
            .x_label_formatter(&|x| format!("{x:.1}"))
            .y_label_formatter(&|y| format!("{y:.1}"))
            .light_line_style(WHITE)
            .draw()?;
        for (&model, color) in models.iter().zip(COLORS.into_iter().cycle()) {
            let of_model = || quantized().filter(|row| row.model == model);
            let points = of_model().map(|row| (row.bits_per_weight, percent(row)));
            chart
                .draw_series(LineSeries::new(points.clone().map(|(x, (y, _))| (x, y)), color))?
                .label(model)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
            chart.draw_series(points.map(|(x, (y, error))| {
                ErrorBar::new_vertical(x, y - error, y, y + error, color.filled(), 6)
            }))?;
            chart.draw_series(of_model().map(|row| {
                let place = (row.bits_per_weight + 0.05, percent(row).0);
                Text::new(row.format.clone(), place, ("sans-serif", 12).into_font().color(&color))
            }))?;
        }
        chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
        area.present()?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{CSV, parse};
    use super::*;

    #[test]
    fn a_plot_names_models_and_formats() {
        let svg = svg(&parse(CSV)).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        for part in ["bits a weight", "Q4_0", "\na\n"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("\nF16\n"), "the baseline is no point: {svg}");
    }
}
