"""What training says of its data before it begins, and keeps in the run folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from df_agent.data.episodes import Episodes
from df_agent.data.quality import Asked, Finding, inspect, unexplained
from df_agent.data.samplers.side_models import LocalPolicySampler
from df_agent.data.samplers.windows import WindowSampler
from df_agent.files import json_bytes, replace_file
from df_agent.models.local_policy import LocalPolicy
from df_agent.training.device import make_accelerator

FILE = "data.json"
SAMPLES = 20_000


class DataCheck:
    """Says what is wrong with the data, in a line each; on the first process only.

    Args:
        asked: starts and goals in use, if they are known.
    """

    def __init__(self, asked: Asked | None = None) -> None:
        self.asked, self.main = asked, bool(make_accelerator().is_main_process)
        self.found: list[Finding] = []
        self.facts: dict[str, float] = {}

    def look(self, episodes: Episodes, channels: list[int]) -> None:
        """Inspect the data, as loaded; `channels` of its observations are what goals are about."""
        if self.main:
            self.facts |= {"episodes": len(episodes), "steps": episodes.steps}
            found = inspect(episodes, channels, self.asked)
            self._say(found)
            if not found:
                print(f"Data: {len(episodes)} episodes, {episodes.steps} steps; nothing is wrong with them", flush=True)

    def look_at_actions(self, policy: LocalPolicy, sampler: WindowSampler) -> None:
        """Measure which share of the actions the local policy, which was trained on them, does not explain."""
        if self.main:
            share = unexplained_share(policy, sampler)
            self.facts["unexplained_share_of_actions"] = share
            self._say(unexplained(share))

    def keep(self, run_dir: str | Path) -> None:
        """Write what was found to the run folder's data.json."""
        if self.main:
            Path(run_dir).mkdir(parents=True, exist_ok=True)
            content = {**self.facts, "findings": [asdict(finding) for finding in self.found]}
            replace_file(Path(run_dir, FILE), json_bytes(content))

    def _say(self, found: list[Finding]) -> None:
        self.found += found
        for finding in found:
            print(f"Data, {finding}", flush=True)


@torch.no_grad()
def unexplained_share(policy: LocalPolicy, sampler: WindowSampler) -> float:
    """Return the share of the actions' variance that a local policy does not explain, 1 where it explains nothing.

    It is told the observation, a place that was reached later, and when.
    """
    batches = LocalPolicySampler(sampler, policy.config.longest, policy.config.observation_indices)
    batch = batches(SAMPLES, torch.Generator().manual_seed(0))
    off = policy(batch.observation, batch.goal, batch.steps) - batch.action
    variance = batch.action.var(0, correction=0)
    varied = variance > 1e-12
    return float((off.square().mean(0)[varied] / variance[varied]).mean()) if bool(varied.any()) else 0.0
