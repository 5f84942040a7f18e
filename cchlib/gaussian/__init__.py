"""The joint Gaussian of Section 3: model, risk, conditions, optimal λ and teacher."""

from cchlib.gaussian.held_out import (
    additive_lambda,
    best_mixing_weight,
    mixing_weight,
    predicted_gain,
    residual_correlation,
)
from cchlib.gaussian.model import (
    JointGaussian,
    TeacherMoments,
    model_of_parts,
    random_model,
)
from cchlib.gaussian.risk import (
    RiskCoefficients,
    cch_holds,
    conditional_variance_condition,
    correlation_condition,
    distillation_helps,
    effective_ridge,
    excess_risk,
    expected_excess_risk,
    optimal_lambda,
    optimal_teacher,
    risk_coefficients,
    risk_slope,
    simulate_excess_risk,
    variance_condition,
)

__all__ = [
    "JointGaussian",
    "RiskCoefficients",
    "TeacherMoments",
    "additive_lambda",
    "best_mixing_weight",
    "cch_holds",
    "conditional_variance_condition",
    "correlation_condition",
    "distillation_helps",
    "effective_ridge",
    "excess_risk",
    "expected_excess_risk",
    "mixing_weight",
    "model_of_parts",
    "optimal_lambda",
    "optimal_teacher",
    "predicted_gain",
    "random_model",
    "residual_correlation",
    "risk_coefficients",
    "risk_slope",
    "simulate_excess_risk",
    "variance_condition",
]
