"""The critic of a mutual information bound: how well a student's and a teacher's vector belong together (arXiv 2109.11105)."""

from __future__ import annotations

from torch import Tensor, nn


class Critic(nn.Module):
    """f(s, t) = g_s(s) . g_t(t), and a log-baseline a(t): three perceptrons of three layers with ReLU.

    Args:
        student, teacher: widths of the vectors. hidden: between. out: of g.

    >>> import torch
    >>> scores, baseline = Critic(4, 6, hidden=8, out=3)(torch.zeros(2, 4), torch.zeros(2, 6))
    >>> scores.shape, baseline.shape
    (torch.Size([2, 2]), torch.Size([2]))
    """

    def __init__(self, student: int, teacher: int, hidden: int = 512, out: int = 64) -> None:
        super().__init__()
        self.student, self.teacher = perceptron(student, hidden, out), perceptron(teacher, hidden, out)
        self.baseline = perceptron(teacher, hidden, 1)

    def forward(
        self, student_nd: Tensor, teacher_nd: Tensor, all_teachers_Nd: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Vectors of n pairs -> scores [n, N] (a student a row) and log-baselines [n] of the rows' own teachers.

        Args:
            all_teachers_Nd: the teachers' vectors of all processes; None means these n.
        """
        every = teacher_nd if all_teachers_Nd is None else all_teachers_Nd
        return self.student(student_nd) @ self.teacher(every).T, self.baseline(teacher_nd)[:, 0]


def perceptron(width: int, hidden: int, out: int) -> nn.Sequential:
    """Three linear layers, ReLU between."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)
    )
