// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What key servers use to answer store requests.
interface DocumentKeyStoreServiceKeyServerApi {
    event DocumentKeyStoreRequested(
        bytes32 serverKeyId,
        address author,
        bytes commonPoint,
        bytes encryptedPoint
    );

    function documentKeyStoreError(bytes32 serverKeyId) external;

    function documentKeyStoreRequestsCount() external view returns (uint256);

    function documentKeyStored(bytes32 serverKeyId) external;

    function getDocumentKeyStoreRequest(uint256 index)
        external
        view
        returns (bytes32 serverKeyId, address author, bytes memory commonPoint, bytes memory encryptedPoint);

    function isDocumentKeyStoreResponseRequired(bytes32 serverKeyId, address keyServer)
        external
        view
        returns (bool);
}
