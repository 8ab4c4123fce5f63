"""Settings: where they come from, what wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import SettingsError
from headrace.settings import Settings, child_environment, read_settings


def project(directory: Path, text: str) -> Path:
    (directory / "pyproject.toml").write_text(text)
    return directory


def test_without_a_file_everything_has_a_default(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, {})

    assert settings == Settings(root=tmp_path, artefacts=tmp_path / ".headrace" / "artefacts")


def test_the_nearest_file_above_is_read_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    project(tmp_path, '[tool.headrace]\napp = "shop.app"\nartefacts = "kept"\npartitions = 8\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    settings = read_settings(below, {})

    assert (settings.root, settings.app, settings.partitions) == (tmp_path, "shop.app", 8)
    assert settings.artefacts == tmp_path / "kept"


def test_the_environment_wins_over_the_file_and_empty_variables_do_not_count(tmp_path: Path) -> None:
    project(tmp_path, '[tool.headrace]\nkafka = "file:9092"\nredis = "redis://file/0"\n')

    settings = read_settings(tmp_path, {"HEADRACE_KAFKA": "env:9092", "HEADRACE_REDIS": "", "OTHER": "x"})

    assert (settings.kafka, settings.redis) == ("env:9092", "redis://file/0")


def test_kafka_as_a_table_holds_client_properties_and_the_address(tmp_path: Path) -> None:
    text = """
        [tool.headrace.kafka]
        "bootstrap.servers" = "k:9092"
        security.protocol = "SSL"
        log.connection.close = false
    """

    settings = read_settings(
        project(tmp_path, text), {"HEADRACE_KAFKA_PROPERTIES": '{"security.protocol": "SASL_SSL"}'}
    )

    assert settings.kafka == "k:9092"
    assert settings.kafka_properties == {"security.protocol": "SASL_SSL", "log.connection.close": "false"}


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("[tool.headrace]\nap = 'x'\n", {}, "'ap'; did you mean 'app'"),
        ("", {"HEADRACE_REDDIS": "x"}, "'HEADRACE_REDDIS'; did you mean 'HEADRACE_REDIS'"),
        ("[tool.headrace]\npartitions = 0\n", {}, "partitions: expected 1 to 1024, got 0"),
        ("[tool.headrace]\npartitions = true\n", {}, "partitions: expected 1 to 1024, got True"),
        ("", {"HEADRACE_PARTITIONS": "many"}, "HEADRACE_PARTITIONS: expected 1 to 1024, got 'many'"),
        ("", {"HEADRACE_NAMESPACE": "Not This"}, "HEADRACE_NAMESPACE: expected 1 to 32 of a-z, 0-9 and -"),
        ("", {"HEADRACE_REDIS": "localhost"}, "HEADRACE_REDIS: a text that is no URL: expected redis://host:port/0"),
        (
            "",
            {"HEADRACE_SCHEMA_REGISTRY": "r:8081"},
            "HEADRACE_SCHEMA_REGISTRY: expected http://host:port, got 'r:8081'",
        ),
        ("", {"HEADRACE_SUBSTRATE": "cloud"}, "expected auto or kafka or in-process, got 'cloud'"),
        ("[tool.headrace]\napp = 1\n", {}, "app: expected str, got 1"),
        ("[tool.headrace.kafka]\n'enable.auto.commit' = true\n", {}, "enable.auto.commit: headrace sets it itself"),
        ("", {"HEADRACE_KAFKA_PROPERTIES": '{"bootstrap.servers": "x"}'}, "set it as HEADRACE_KAFKA"),
        ("", {"HEADRACE_KAFKA_PROPERTIES": "a=b"}, "expected a JSON object"),
        ("[tool.headrace\n", {}, "pyproject.toml: "),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(
    tmp_path: Path, text: str, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(project(tmp_path, text), environ)

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("app_name", "namespace"),
    [("flights", "flights"), ("My Shop_App", "my-shop-app"), ("é", "app"), ("x" * 40, "x" * 32), ("-a-", "a")],
)
def test_the_namespace_is_the_apps_name_made_to_fit(tmp_path: Path, app_name: str, namespace: str) -> None:
    assert Settings(root=tmp_path).namespace_of(app_name) == namespace
    assert Settings(root=tmp_path, namespace="prod").namespace_of(app_name) == "prod"


def test_each_role_has_its_own_admin_port_and_zero_stays_any(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, admin_port=9000)

    assert [settings.admin_port_of(role) for role in ("features", "monitoring")] == [9000, 9003]
    assert Settings(root=tmp_path, admin_port=0).admin_port_of("scoring") == 0


def test_a_child_reads_the_settings_that_its_parent_had(tmp_path: Path) -> None:
    settings = Settings(
        root=tmp_path,
        app="shop.app",
        namespace="shop",
        kafka="k:9092",
        kafka_properties={"security.protocol": "SSL"},
        redis="redis://r/0",
        artefacts=tmp_path / "kept",
        partitions=2,
        admin_port=0,
        substrate="kafka",
        schema_registry="http://r:8081",
    )

    assert read_settings(tmp_path, child_environment(settings)) == settings
