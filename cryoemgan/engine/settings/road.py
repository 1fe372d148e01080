"""Folders of the steps of ``report``, in their order: the command writes them, the page and the form read them."""

REFERENCES = '1_references'
TRAINED, GUIDED = 'trained', 'guided'
# {network: words for it}
NETWORKS = {TRAINED: 'trained on the map', GUIDED: 'guided by the map'}
TRAINING = {TRAINED: '2_train_trained', GUIDED: '3_train_guided'}
# Of the audits: a map-free network.
OPINION = '3_second_opinion'
DENOISED = {TRAINED: '4_denoised_trained', GUIDED: '5_denoised_guided'}
AUDIT = {TRAINED: '6_audit_trained', GUIDED: '7_audit_guided'}
EVALUATION, SELECTION = '8_evaluation', '9_selection'
TITLES = {
    REFERENCES: 'The map projected at every particle',
    **{TRAINING[n]: f'Network {words}' for n, words in NETWORKS.items()},
    OPINION: 'Map-free network, for a second opinion',
    **{DENOISED[n]: f'Particles denoised by the network {words}' for n, words in NETWORKS.items()},
    **{AUDIT[n]: f'Audit of the network {words}' for n, words in NETWORKS.items()},
    EVALUATION: 'All compared with the references',
    SELECTION: 'Particles sorted by how they fit the map',
}
