//! The figures as Markdown and CSV.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Write as _;

/// One model in one format.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) model: String,
    pub(super) format: String,
    bytes: f64,
    /// Of the F16 form's bytes, the share that is saved.
    reduction: f64,
    pub(super) bits_per_weight: f64,
    perplexity: f64,
    perplexity_error: f64,
    /// Of the perplexity, to the F16 form's, as a share.
    pub(super) change: f64,
    pub(super) change_error: f64,
    kl_mean: f64,
    kl_p99: f64,
    same_top: f64,
    prompt: f64,
    generate: f64,
}

/// What the figures were measured with.
pub(super) struct Setting {
    pub(super) text: String,
    pub(super) windows: u32,
    pub(super) cpu: String,
    pub(super) commit: String,
    /// The files that were quantized before F16 forms were made of them.
    pub(super) requantized: Vec<String>,
}

/// Claims that are often repeated of any model: format, bytes saved, and loss, in percent.
const CLAIMS: [(&str, u32, &str); 4] = [
    ("Q8_0", 50, "under 1"),
    ("Q5_K_M", 68, "1 to 3"),
    ("Q4_K_M", 73, "3 to 6"),
    ("Q4_0", 75, "8 to 12"),
];

const COLUMNS: [&str; 14] = [
    "model",
    "format",
    "bytes",
    "reduction",
    "bits_per_weight",
    "perplexity",
    "perplexity_error",
    "change",
    "change_error",
    "kl_mean",
    "kl_p99",
    "same_top",
    "prompt_tokens_per_second",
    "generate_tokens_per_second",
];

impl Row {
    /// A row out of what `bantam quantize`, `perplexity` and `bench` said of a form.
    ///
    /// # Errors
    /// Names the figure that is missing.
    pub(super) fn new(
        model: &str,
        format: &str,
        f16_bytes: u64,
        made: &Value,
        scored: &Value,
        speed: &Value,
    ) -> Result<Self> {
        let number = |json: &Value, key: &str| {
            json.pointer(key).and_then(Value::as_f64).with_context(|| format!("{format}: no {key}"))
        };
        // The baseline is compared with nothing, and differs from itself by nothing.
        let against = |key: &str, of_itself: f64| match format {
            "F16" => Ok(of_itself),
            _ => number(scored, &format!("/against/{key}")),
        };
        let bytes = number(scored, "/model_bytes")?;
        Ok(Row {
            model: model.to_owned(),
            format: format.to_owned(),
            bytes,
            reduction: 1.0 - bytes / f16_bytes as f64,
            bits_per_weight: number(made, "/bits_per_weight")?,
            perplexity: number(scored, "/perplexity")?,
            perplexity_error: number(scored, "/perplexity_error")?,
            change: against("ratio", 1.0)? - 1.0,
            change_error: against("ratio_error", 0.0)?,
            kl_mean: against("kl/mean", 0.0)?,
            kl_p99: against("kl/p99", 0.0)?,
            same_top: against("same_top", 1.0)?,
            prompt: number(speed, "/results/0/tokens_per_second")?,
            generate: number(speed, "/results/1/tokens_per_second")?,
        })
    }

    fn numbers(&self) -> [f64; 12] {
        [
            self.bytes,
            self.reduction,
            self.bits_per_weight,
            self.perplexity,
            self.perplexity_error,
            self.change,
            self.change_error,
            self.kl_mean,
            self.kl_p99,
            self.same_top,
            self.prompt,
            self.generate,
        ]
    }
}

/// All rows, under the names of their columns.
pub(super) fn csv(rows: &[Row]) -> String {
    let mut out = COLUMNS.join(",") + "\n";
    for row in rows {
        let numbers = row.numbers().map(|number| number.to_string()).join(",");
        let _ = writeln!(out, "{},{},{numbers}", row.model, row.format);
    }
    out
}

/// The table of all models, and beside it what is claimed of any.
pub(super) fn markdown(rows: &[Row], setting: &Setting) -> String {
    let mut out = String::from(
        "| Model | Format | MB | Saved | Bits a weight | Perplexity | Change | KL, mean | KL, 99 % | Same top token | Prompt, tokens/s | Generation, tokens/s |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let _ = writeln!(
            out,
            "| {} | {} | {:.1} | {:.1} % | {:.2} | {:.3} ± {:.3} | {} | {:.4} | {:.3} | {:.1} % | {:.0} | {:.0} |",
            row.model,
            row.format,
            row.bytes / 1e6,
            row.reduction * 100.0,
            row.bits_per_weight,
            row.perplexity,
            row.perplexity_error,
            change(row),
            row.kl_mean,
            row.kl_p99,
            row.same_top * 100.0,
            row.prompt,
            row.generate,
        );
    }
    if !setting.requantized.is_empty() {
        let _ = writeln!(
            out,
            "\nThe baseline, F16, is made of files that are quantized themselves ({}): it is what \
             these hold, not what was trained, and losses are those of the step from there.",
            setting.requantized.join(", "),
        );
    }
    let _ = writeln!(
        out,
        "\nMeasured on {} ({} windows of 512 tokens, their second halves scored); ± is one standard \
         error, and a change's is that of paired predictions. KL(F16 ‖ form) is in nats. Speeds are \
         of a prompt of 128 tokens and of 32 generated ones on {}. Bantam {}.\n",
        setting.text, setting.windows, setting.cpu, setting.commit,
    );
    out.push_str("| Format | Often claimed: saved, loss | Model | Measured: saved, change of perplexity |\n|---|--:|---|--:|\n");
    for (format, saved, loss) in CLAIMS {
        for row in rows.iter().filter(|row| row.format == format) {
            let _ = writeln!(
                out,
                "| {format} | {saved} %, {loss} % | {} | {:.1} %, {} |",
                row.model,
                row.reduction * 100.0,
                change(row),
            );
        }
    }
    out
}

fn change(row: &Row) -> String {
    if row.format == "F16" {
        return "baseline".to_owned();
    }
    format!("{:+.2} ± {:.2} %", row.change * 100.0, row.change_error * 100.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The rows of a table that was written before.
    pub(in crate::accuracy) fn parse(csv: &str) -> Vec<Row> {
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some(COLUMNS.join(",").as_str()));
        let row = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            let numbers: Vec<f64> = cells[2..].iter().map(|cell| cell.parse().unwrap()).collect();
            let [
                bytes,
                reduction,
                bits_per_weight,
                perplexity,
                perplexity_error,
                change,
                change_error,
                kl_mean,
                kl_p99,
                same_top,
                prompt,
                generate,
            ] = numbers[..]
            else {
                panic!("{line}")
            };
            let (model, format) = (cells[0].to_owned(), cells[1].to_owned());
            Row {
                model,
                format,
                bytes,
                reduction,
                bits_per_weight,
                perplexity,
                perplexity_error,
                change,
                change_error,
                kl_mean,
                kl_p99,
                same_top,
                prompt,
                generate,
            }
        };
        lines.map(row).collect()
    }

    pub(in crate::accuracy) const CSV: &str = "\
model,format,bytes,reduction,bits_per_weight,perplexity,perplexity_error,change,change_error,kl_mean,kl_p99,same_top,prompt_tokens_per_second,generate_tokens_per_second
a,F16,2000000,0,16,10,0.5,0,0,0,0,1,100,50
a,Q4_0,600000,0.7,4.5,11,0.55,0.1,0.01,0.05,0.5,0.9,300,120
";

    #[test]
    fn tables_say_what_was_measured() {
        let rows = parse(CSV);
        assert_eq!(csv(&rows), CSV);
        let setting = Setting {
            text: "a text".into(),
            windows: 8,
            cpu: "a CPU".into(),
            commit: "0123".into(),
            requantized: vec!["a.Q4_1.gguf".into()],
        };
        let text = markdown(&rows, &setting);
        for part in [
            "| a | F16 | 2.0 | 0.0 % | 16.00 | 10.000 ± 0.500 | baseline |",
            "| a | Q4_0 | 0.6 | 70.0 % | 4.50 | 11.000 ± 0.550 | +10.00 ± 1.00 % | 0.0500 |",
            "quantized themselves (a.Q4_1.gguf)",
            "| Q4_0 | 75 %, 8 to 12 % | a | 70.0 %, +10.00 ± 1.00 % |",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn rows_come_from_what_the_program_says() {
        let made = serde_json::json!({ "bits_per_weight": 4.5 });
        let scored = serde_json::json!({
            "model_bytes": 600_000, "perplexity": 11.0, "perplexity_error": 0.55,
            "against": { "ratio": 1.1, "ratio_error": 0.01, "same_top": 0.9,
                         "kl": { "mean": 0.05, "p99": 0.5 } },
        });
        let speed = serde_json::json!({
            "results": [{ "tokens_per_second": 300.0 }, { "tokens_per_second": 120.0 }],
        });
        let row = Row::new("a", "Q4_0", 2_000_000, &made, &scored, &speed).unwrap();
        assert!((row.change - 0.1).abs() < 1e-12 && (row.reduction - 0.7).abs() < 1e-12);
        let none = serde_json::json!({});
        let error = Row::new("a", "Q4_0", 1, &none, &scored, &speed).unwrap_err().to_string();
        assert!(error.contains("/bits_per_weight"), "{error}");
    }
}
