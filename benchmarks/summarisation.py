"""Summaries by a model that is trained here, against the beginning of the text.

    python -m benchmarks.summarisation                      lines for Debian's package descriptions
    python -m benchmarks.summarisation --epochs 1 --test 50   the shortest run that says something

Trains by the recipe `seq2seq` on one core, serves the version by a real server, and asks it over
`/v1/summarize` for the descriptions of the split `test`, which training never saw. ROUGE is the
mean F-score over texts. What it is compared with: the first sentence, and the first words, as many
as summaries have on average.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import machine
from benchmarks.package_descriptions import first_sentence, summaries
from benchmarks.served import modelry
from benchmarks.text_training import (
    CLIENTS,
    MODEL,
    Pairs,
    Rows,
    answered,
    deploy,
    examples,
    folder_of,
    parsed,
    told,
    train,
)
from modelry.metrics.text import chrf, exact_matches, rouge_l, rouge_n


def package_rows() -> Rows:
    """Debian's package descriptions."""
    splits = summaries()
    words = [len(line.split()) for _, line in splits["train"]]
    mean = round(sum(words) / len(words))
    parameters = {
        "task": "summarization",
        "vocabulary": 6000,
        "width": 192,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "dropout": 0.15,
        "epochs": 12,
        "tokens_per_batch": 2048,
        "learning_rate": 2e-3,
        "cpu_bfloat16": True,
        "source_tokens": 192,
        "target_tokens": 48,
    }
    simple = {
        "the first sentence": first_sentence,
        f"the first {mean} words": lambda text: " ".join(text.split()[:mean]),
    }
    return Rows("Debian's package descriptions", splits, parameters, simple)


ROWS = {"packages": package_rows}


def measured(written: Sequence[str], test: Pairs) -> list[str]:
    """ROUGE-1, ROUGE-2, ROUGE-L, chrF, exact matches, and how long answers are."""
    wanted = [target for _, target in test]
    found = [rouge_n(written, wanted, 1), rouge_n(written, wanted, 2), rouge_l(written, wanted)]
    found += [chrf(written, wanted), exact_matches(written, wanted)]
    words = sum(len(one.split()) for one in written) / len(written)
    return [f"{one:.1f}" for one in (*found, words)]


def main() -> None:
    """Train, serve, ask, compare, write the result file."""
    arguments = parsed(__doc__, list(ROWS))
    rows = ROWS[arguments.rows]()
    test = rows.splits["test"][: arguments.test]
    texts = [source for source, _ in test]
    with folder_of(arguments) as folder:
        trained, shown, seconds = train(rows, folder, arguments)
        compared = [
            [name, *measured([answer(text) for text in texts], test)]
            for name, answer in rows.simple.items()
        ]
        with modelry() as served:
            deploy(served, trained, folder)
            written: list[str] = []
            for beams in (1, 4):
                written, _ = answered(
                    lambda text, beams=beams: (  # type: ignore[misc]
                        served.client.summarize(MODEL, text, beams=beams).text
                    ),
                    texts,
                    CLIENTS[-1],
                )
                compared.append([f"trained, {beams} beam(s), served", *measured(written, test)])
    columns = ["answers", "ROUGE-1", "ROUGE-2", "ROUGE-L", "chrF", "exact %", "words"]
    machine.write(
        f"summarisation-{arguments.rows}",
        f"Summaries: {rows.title}",
        [
            *told(rows, trained, shown, seconds, arguments),
            *machine.table(columns, compared),
            "",
            *examples(test, written),
        ],
    )


if __name__ == "__main__":
    main()
