"""The paper's figures."""


rule figure:
    message:
        "Drawing {wildcards.artifact}."
    input:
        scores=campaign.scores,
    output:
        csv=f"{ROOT}/figures/{{artifact}}.csv",
        png=shown(f"{ROOT}/figures/{{artifact}}.png", "Figures"),
        pdf=f"{ROOT}/figures/{{artifact}}.pdf",
    log:
        f"{LOGS}/figure/{{artifact}}.log",
    wildcard_constraints:
        artifact=campaign.names_of("figure"),
    params:
        recipe=campaign.artifact_recipe,
        caption=campaign.caption,
    script:
        "../workflow_scripts/figure.py"


rule latent:
    message:
        "Drawing the features of {wildcards.artifact}."
    input:
        features=campaign.drawn_features,
    output:
        csv=f"{ROOT}/figures/{{artifact}}.csv",
        png=shown(f"{ROOT}/figures/{{artifact}}.png", "Figures"),
        pdf=f"{ROOT}/figures/{{artifact}}.pdf",
    log:
        f"{LOGS}/latent/{{artifact}}.log",
    wildcard_constraints:
        artifact=campaign.names_of("latent"),
    params:
        recipe=campaign.artifact_recipe,
        caption=campaign.caption,
    script:
        "../workflow_scripts/latent.py"


rule rollout:
    message:
        "Drawing the attention of {wildcards.artifact}."
    input:
        students=campaign.drawn_students,
        index=campaign.drawn_index,
    output:
        csv=f"{ROOT}/figures/{{artifact}}.csv",
        png=shown(f"{ROOT}/figures/{{artifact}}.png", "Figures"),
        pdf=f"{ROOT}/figures/{{artifact}}.pdf",
    log:
        f"{LOGS}/rollout/{{artifact}}.log",
    wildcard_constraints:
        artifact=campaign.names_of("rollout"),
    params:
        recipe=campaign.artifact_recipe,
        caption=campaign.caption,
        sight=campaign.rollout_recipe,
    script:
        "../workflow_scripts/rollout.py"
