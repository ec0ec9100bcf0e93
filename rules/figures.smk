"""The paper's figures."""


rule figure:
    message:
        "Drawing {wildcards.artifact}."
    input:
        scores=of("artifact", campaign.scores_of),
    output:
        csv=paths.artifact("figure")["csv"],
        png=shown(paths.artifact("figure")["png"], "Figures"),
        pdf=paths.artifact("figure")["pdf"],
    log:
        paths.log("figure"),
    wildcard_constraints:
        artifact=campaign.names_of("figure"),
    params:
        recipe=of("artifact", campaign.artifact_recipe),
        caption=of("artifact", campaign.caption),
    script:
        "../workflow_scripts/figure.py"


rule seconds:
    message:
        "Drawing the scores of {wildcards.artifact} over seconds."
    input:
        scores=of("artifact", campaign.scores_of),
        circumstances=of("artifact", campaign.circumstances_of),
    output:
        csv=paths.artifact("seconds")["csv"],
        png=shown(paths.artifact("seconds")["png"], "Figures"),
        pdf=paths.artifact("seconds")["pdf"],
    log:
        paths.log("seconds"),
    wildcard_constraints:
        artifact=campaign.names_of("seconds"),
    params:
        recipe=of("artifact", campaign.artifact_recipe),
        caption=of("artifact", campaign.caption),
    script:
        "../workflow_scripts/seconds.py"


rule latent:
    message:
        "Drawing the features of {wildcards.artifact}."
    input:
        features=of("artifact", campaign.features_of),
    output:
        csv=paths.artifact("latent")["csv"],
        png=shown(paths.artifact("latent")["png"], "Figures"),
        pdf=paths.artifact("latent")["pdf"],
    log:
        paths.log("latent"),
    wildcard_constraints:
        artifact=campaign.names_of("latent"),
    params:
        recipe=of("artifact", campaign.artifact_recipe),
        caption=of("artifact", campaign.caption),
    script:
        "../workflow_scripts/latent.py"


rule rollout:
    message:
        "Drawing the attention of {wildcards.artifact}."
    input:
        students=of("artifact", campaign.students_of),
        index=of("artifact", campaign.index_of),
    output:
        csv=paths.artifact("rollout")["csv"],
        png=shown(paths.artifact("rollout")["png"], "Figures"),
        pdf=paths.artifact("rollout")["pdf"],
    log:
        paths.log("rollout"),
    wildcard_constraints:
        artifact=campaign.names_of("rollout"),
    params:
        recipe=of("artifact", campaign.artifact_recipe),
        caption=of("artifact", campaign.caption),
        sight=of("artifact", campaign.sight_recipe),
    script:
        "../workflow_scripts/rollout.py"
