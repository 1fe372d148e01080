"""
@article{Gu2020,
  title = {Robust Autoencoder {GAN} for Cryo-{EM} Image Denoising},
  author = {Gu, Hanlin and Xian, Yin and Unarta, Ilona Christy and Yao, Yuan},
  journal = {arXiv preprint arXiv:2008.07307},
  year = {2020},
  doi = {10.48550/arXiv.2008.07307},
  url = {https://arxiv.org/abs/2008.07307}
}

@incollection{Gu2023,
  title = {Generative Adversarial Networks for Robust Cryo-{EM} Image Denoising},
  author = {Gu, Hanlin and Xian, Yin and Unarta, Ilona Christy and Yao, Yuan},
  booktitle = {Handbook of Mathematical Models and Algorithms in Computer Vision and Imaging},
  publisher = {Springer, Cham},
  pages = {969--1000},
  year = {2023},
  doi = {10.1007/978-3-030-98661-2_126},
  url = {https://doi.org/10.1007/978-3-030-98661-2_126}
}
"""
