"""Data Docs: what Great Expectations renders of its results, as one page that needs nothing from elsewhere.

The stock pages load styles and scripts from five other hosts and carry the time at which they were made. Here Great
Expectations renders the results, and `docs.html.j2` is the page around them: it is readable offline, and equal results
give equal bytes.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

SAMPLED_ROWS = 20
"""Rows that the page shows of an expectation that does not hold."""


def write_docs(corpus: str, suite: str, results: Mapping[str, Any], outcome: Mapping[str, Any], folder: Path) -> None:
    """Write `index.html`.

    Args:
        corpus: Its name, for the title.
        suite: Name of the suite.
        results: Table to Great Expectations' ExpectationSuiteValidationResult.
        outcome: What `ser_tasks.data.validation.validate` gives for them, expectations in the same order.
        folder: Made when absent.
    """
    from great_expectations.render import RenderedDocumentContent, RenderedHeaderContent, RenderedSectionContent
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    expectations = iter(outcome["expectations"])
    sections = []
    for table, result in results.items():
        for item in result.results:
            _show(item, next(expectations))
        heading = RenderedHeaderContent(header=f"Table {table}", styling={"classes": ["table-name"]})
        sections.append(RenderedSectionContent(section_name=table, content_blocks=[heading]))
        # The first section tells when and by which objects it was run.
        sections += ValidationResultsPageRenderer().render(result).sections[1:]
    document = RenderedDocumentContent(renderer_type="ValidationResultsPageRenderer", sections=sections)
    view = DefaultJinjaPageView(custom_views_directory=str(Path(__file__).parent))
    view.env.filters["generate_html_element_uuid"] = lambda prefix="": prefix  # the default is random
    folder.mkdir(parents=True, exist_ok=True)
    page = view.render(document, template="docs.html.j2", corpus_name=corpus, suite=suite, outcome=outcome)
    (folder / "index.html").write_text(page, encoding="utf-8")


def _show(item: Any, outcome: Mapping[str, Any]) -> None:
    """Put the rows' names where Great Expectations renders them, and leave out tracebacks."""
    # Great Expectations writes cells of tables as they are, and a file may be named like markup.
    rows = [
        {name: escape(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in outcome["unexpected"][:SAMPLED_ROWS]
    ]
    if rows:
        column = item.expectation_config.kwargs["column"]
        item.result["partial_unexpected_list"] = [row[column] for row in rows]
        item.result["unexpected_index_list"] = rows
        item.result["unexpected_index_column_names"] = [name for name in rows[0] if name != column]
    if outcome["error"]:
        item.exception_info = {
            "raised_exception": True,
            "exception_message": outcome["error"],
            "exception_traceback": "",
        }
